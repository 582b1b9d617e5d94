"""What is wrong with a value is told without the value."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

import smelt.backend.client_calls
import smelt.backend.worker_calls
import smelt.subscriber.client  # noqa: F401 - for the models that are defined there.
from smelt.backend.rpc import Answer
from smelt.contract.events import Model, faults, parse_event

WORDS = "we have decided to"


def models(shape: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in shape.__subclasses__():
        yield each
        yield from models(each)


def test_no_error_of_any_model_quotes_what_was_read() -> None:
    tried = 0
    for shape in {*models(Model), *models(Answer)}:
        if shape.__module__.startswith("smelt."):
            for value in (WORDS, {key: [WORDS] for key in shape.model_fields}):
                with pytest.raises(ValidationError) as caught:
                    shape.model_validate(value)
                assert WORDS not in f"{caught.value} {caught.value!r}"
                tried += 1
    assert tried > 40


def test_a_malformed_event_is_described_by_place_and_kind() -> None:
    with pytest.raises(ValidationError) as caught:
        parse_event("segments", {"smelt_id": WORDS, "segments": [{"index": WORDS, "text": 1}]})
    told = faults(caught.value)
    assert "smelt_id: uuid_parsing" in told
    assert "segments.0.index: int_parsing" in told
    assert WORDS not in told
