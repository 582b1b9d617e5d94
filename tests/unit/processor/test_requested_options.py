"""The options of a smelt are honored by its worker, or fail its files with a sentence before any work."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from faster_whisper.utils import available_models

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.options import SmeltOptions
from smelt.contract.vocabulary import Task
from smelt.contract.work import Claim
from smelt.processor.broadcasts import Announcer
from smelt.processor.errors import ModelMissing
from smelt.processor.event_queue import EventQueue
from smelt.processor.metrics import Metrics
from smelt.processor.reporter import Reporter
from smelt.processor.speech.model import known_languages, load_model, names_of
from smelt.processor.speech.requested import issue_of, parsed_options
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.values import ModelOptions, SpeechOptions
from smelt.processor.stages.pipeline import Pipeline
from tests.unit.processor.fakes import FakeChannel, FakeProject, FakeRpc, claim, file_row

MANY = ("en", "de", "es")


def test_options_of_a_claim_are_parsed() -> None:
    assert parsed_options({}) == (SmeltOptions(), None)
    assert parsed_options({"language": "de", "vocabulary": ["Hale"]}) == (
        SmeltOptions(language="de", vocabulary=("Hale",)),
        None,
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mood": "happy"}, 'The worker does not know the option "mood"; it needs a newer version of smelt.'),
        ({"task": "sing"}, 'The worker does not accept this value of the option "task".'),
        ({"vocabulary": ["a", ""]}, 'The worker does not accept this value of the option "vocabulary".'),
        ({"word_times": None, "channels": "left"}, 'The worker does not accept this value of the option "channels".'),
    ],
)
def test_option_of_a_newer_schema_is_named_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    assert parsed_options(options) == (SmeltOptions(), sentence)


@pytest.mark.parametrize(
    ("requested", "model", "languages", "words"),
    [
        ({"language": "de"}, "tiny.en", ("en",), "tiny.en knows English only"),
        ({"language": "xx"}, "base", MANY, 'does not know the language "xx"'),
        ({"task": "translate"}, "tiny.en", ("en",), "knows English only"),
        ({"task": "translate"}, "large-v3-turbo", MANY, "was not trained to translate"),
        ({"task": "translate"}, "me/Distil-German", MANY, "was not trained to translate"),
        ({"task": "translate"}, "base", MANY, None),
        ({"language": "en"}, "tiny.en", ("en",), None),
        ({"language": "es", "vocabulary": ["a"], "word_times": True}, "base", MANY, None),
    ],
)
def test_option_that_a_model_does_not_support_is_named_in_a_sentence(
    requested: dict[str, Any], model: str, languages: tuple[str, ...], words: str | None
) -> None:
    issue = issue_of(SmeltOptions.model_validate(requested), model, languages)
    if words is None:
        assert issue is None
    else:
        assert issue is not None
        assert words in issue
        assert next(iter(requested)) in issue


def test_smelt_options_replace_those_of_the_worker() -> None:
    worker = SpeechOptions(word_times=True, batch_size=4)
    assert worker.for_smelt(SmeltOptions()) == worker
    found = worker.for_smelt(SmeltOptions(language="de", task="translate", vocabulary=("a",), word_times=False))
    assert found == SpeechOptions(batch_size=4, language="de", task="translate", vocabulary=("a",), word_times=False)
    assert set(get_args(Task)) == {"transcribe", "translate"}


def test_model_has_the_names_of_its_size_and_of_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    assert names_of(ModelOptions(name=str(folder))) == ("my-model",)
    assert names_of(ModelOptions()) == ("demo",)
    assert names_of(ModelOptions(name="base")) == ("base", "Systran/faster-whisper-base")
    assert names_of(ModelOptions(name="Systran/faster-whisper-base")) == ("Systran/faster-whisper-base", "base")
    assert set(names_of(ModelOptions(name="large"))) >= {"large", "large-v3"}
    assert names_of(ModelOptions(name="someone/model")) == ("someone/model",)
    assert all(size in names_of(ModelOptions(name=size)) for size in available_models())


def test_demo_model_knows_english_only() -> None:
    assert known_languages(load_model(ModelOptions())) == ("en",)


# The pipeline


@pytest.fixture
async def model() -> AsyncIterator[SharedModel]:
    """Return the demo model, loaded in a child."""
    shared = SharedModel(ModelOptions(), SpeechOptions())
    await shared.wait_usable()
    yield shared
    await shared.aclose()


class PipelineHarness:
    """A pipeline without a project: its model is real, and nothing can be downloaded."""

    def __init__(self, smelt: Claim, model: SharedModel) -> None:
        self.rpc = FakeRpc(lambda *_: {"verdict": "go_on", "event": None})
        project: Any = FakeProject(self.rpc)
        channel: Any = FakeChannel()
        calls: Any = self.rpc
        self.reporter = Reporter(
            smelt,
            WorkerRpc(calls),
            EventQueue(Announcer(project, "w"), channel),
            lease_s=30,
            on_verdict=lambda _: None,
            on_renewed=lambda _: None,
            eta_s=lambda: None,
        )
        services: Any = SimpleNamespace(
            model=model,
            engine=model,
            dispatcher=None,
            metrics=Metrics(),
            calls=WorkerRpc(calls),
            synthesis_slots=asyncio.Semaphore(0),
        )
        self.pipeline = Pipeline(self.reporter, services, Path())

    async def failed_rows(self) -> list[tuple[str | None, str | None]]:
        """Run it, and return code and message of each file as reported."""
        assert await self.pipeline.run() == ()
        await self.reporter.flush()
        rows = [row for call in self.rpc.named("report_smelt_progress") for row in call["files"]]
        return [(row["error_code"], row["error_message"]) for row in rows if row.get("status") == "failed"]


@pytest.mark.parametrize("input_type", ["audio", "text"])
async def test_unknown_option_fails_all_files_with_its_name(input_type: str, model: SharedModel) -> None:
    rows = [file_row(input_type=input_type), file_row(input_type=input_type, position=1)]
    failed = await PipelineHarness(claim(*rows, options={"mood": "happy"}), model).failed_rows()
    assert len(failed) == 2
    for code, message in failed:
        assert code == "transcription_failed"
        assert message is not None
        assert '"mood"' in message


@pytest.mark.parametrize("options", [{"language": "de"}, {"task": "translate"}], ids=str)
async def test_language_of_an_english_model_fails_the_file_before_it_is_downloaded(
    options: dict[str, str], model: SharedModel
) -> None:
    # A download would raise: the project has no object store.
    [(code, message)] = await PipelineHarness(claim(options=options), model).failed_rows()
    assert code == "transcription_failed"
    assert message is not None
    assert message.startswith("The model demo knows English only")


async def test_smelt_of_another_model_raises_an_error_that_releases_it(model: SharedModel) -> None:
    assert model.names == ("demo",)
    harness = PipelineHarness(claim(options={"model": "large-v3"}), model)
    with pytest.raises(ModelMissing, match=r"large-v3 is requested.*demo"):
        await harness.pipeline.run()


async def test_transcript_of_an_earlier_attempt_needs_no_option_of_the_model(model: SharedModel) -> None:
    saved = {"index": 0, "start": 0, "end": 1, "text": "Guten Morgen.", "speaker": "Speaker 1"}
    smelt = claim(
        file_row(transcribed=True, segment_count=1),
        options={"language": "de", "model": "large-v3"},
        default_prompt_names=[],
    )
    harness = PipelineHarness(smelt, model)
    harness.rpc._responder = lambda function, _: (
        [saved] if function == "load_smelt_segments" else {"verdict": "go_on", "event": None}
    )
    [result] = await harness.pipeline.run()
    # No prompts: the transcript, although no place for outputs is free.
    assert result.content == "Speaker 1: Guten Morgen."
    assert harness.reporter.state.percentage == 100
