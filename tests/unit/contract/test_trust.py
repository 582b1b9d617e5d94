"""The trust of a file has a type for every key that workers write, and tolerates older and newer workers."""

import pytest
from pydantic import ValidationError

from smelt.contract.state import LanguageShare, Trust

REQUIRED = {"silence_seconds": 3.5, "low_confidence_segments": [1], "repeated_segments": []}
REPORTED = REQUIRED | {
    "untranscribed_seconds": 26.5,
    "untranscribed": [[28.0, 54.0], [70.5, 71.0]],
    "retried": [[0.0, 30.0]],
    "languages": [
        {"language": "de", "share": 0.63, "seconds": 41.2},
        {"language": "en", "share": 0.37, "seconds": 24.2},
    ],
    "damaged_seconds": 2.5,
    "damaged": [[12.0, 14.5]],
    "clock_jumps": 1,
    "track": 2,
    "track_count": 2,
    "channel": 1,
    "speaker_count": 2,
    "uncertain_speakers": 0.05,
    "translated": True,
    "model": "small",
    "notice": None,
}


def test_trust_types_every_reported_key() -> None:
    trust = Trust.model_validate(REPORTED)
    assert trust.model_dump(mode="json") == REPORTED
    assert trust.untranscribed == ((28.0, 54.0), (70.5, 71.0))
    assert trust.languages[0] == LanguageShare(language="de", share=0.63, seconds=41.2)


def test_trust_of_an_older_worker_leaves_the_other_values_unknown() -> None:
    trust = Trust.model_validate(REQUIRED)
    assert (trust.untranscribed_seconds, trust.damaged_seconds, trust.clock_jumps) == (None, None, None)
    assert (trust.untranscribed, trust.languages, trust.track, trust.channel) == ((), (), None, None)


def test_trust_ignores_keys_of_a_newer_worker_and_is_frozen() -> None:
    trust = Trust.model_validate(REPORTED | {"later": {"a": 1}})
    assert trust == Trust.model_validate(REPORTED)
    with pytest.raises(ValidationError):
        trust.channel = 2  # type: ignore[misc]


@pytest.mark.parametrize("key", REQUIRED)
def test_trust_requires_the_keys_that_every_worker_writes(key: str) -> None:
    with pytest.raises(ValidationError):
        Trust.model_validate({name: value for name, value in REPORTED.items() if name != key})
