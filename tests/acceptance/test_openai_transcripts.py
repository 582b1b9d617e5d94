"""OpenAI's official clients get the transcripts of a real worker."""

import asyncio
import re
import shutil
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.acceptance.commands import ROOT, accuracy, environment, worker
from tests.harness.documents import code_for
from tests.harness.gateways import options_for, running_gateway
from tests.harness.processes import run
from tests.harness.stacks import Stack, running_project, sign_up

RECORDING = ROOT / "tests" / "recordings" / "action_item.m4a"
TEXT = RECORDING.with_suffix(".txt").read_text()
JS = ROOT / "tests" / "js"
REPEATS = 30
"""Of a recording of 4 s: more than one span of two minutes."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project with a worker."""
    with running_project() as stack, worker(stack.env(), tmp_path_factory.mktemp("worker") / "log"):
        yield stack


@pytest.fixture(scope="module")
def gateway_url(stack: Stack) -> Iterator[str]:
    with running_gateway(options_for(stack)) as gateway:
        yield gateway.url


@pytest.fixture
def client(stack: Stack, gateway_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway_url}/v1", api_key=sign_up(stack).access_token, timeout=100) as client:
        yield client


def test_openai_client_gets_each_response_format(client: openai.OpenAI) -> None:
    def create(**parameters: Any) -> Any:
        return client.audio.transcriptions.create(file=RECORDING, model="whisper-1", language="en", **parameters)

    text = create().text
    assert accuracy(text, TEXT) == 1
    assert create(response_format="text") == f"{text}\n"
    cues = re.findall(r"\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n((?:.+\n)+)", create(response_format="srt"))
    assert " ".join("".join(cues).split()) == text
    assert create(response_format="vtt").startswith("WEBVTT\n\n00:00:0")
    verbose = create(response_format="verbose_json")
    assert (verbose.text, verbose.language) == (text, "en")
    assert verbose.segments[-1].end <= verbose.duration == pytest.approx(4.1, abs=0.3)
    assert verbose.words is None
    timed = create(response_format="verbose_json", timestamp_granularities=["word"])
    assert " ".join(word.word for word in timed.words) == text
    assert all(0 <= word.start <= word.end <= timed.duration for word in timed.words)
    assert timed.segments is None


async def test_openai_async_client_streams_a_long_recording_with_the_named_model(
    stack: Stack, gateway_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(RECORDING.with_suffix(".wav"))) as short, wave.open(str(path), "wb") as long:
        long.setparams(short.getparams())
        long.writeframes(short.readframes(short.getnframes()) * REPEATS)
    key = sign_up(stack).access_token
    async with openai.AsyncOpenAI(base_url=f"{gateway_url}/v1", api_key=key, timeout=100) as client:
        create = client.audio.transcriptions.create
        async with asyncio.timeout(100):
            *deltas, done = [event async for event in await create(file=path, model="demo", prompt="Lisa", stream=True)]
        verbose = await create(file=path, model="demo", prompt="Lisa", response_format="verbose_json")
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert len(deltas) >= REPEATS / 2
    assert done.type == "transcript.text.done"
    assert done.text == "".join(event.delta for event in deltas)  # type: ignore[union-attr]
    assert accuracy(done.text, TEXT * REPEATS) > 0.95
    assert verbose.text == done.text
    assert verbose.duration == pytest.approx(REPEATS * 4.136, abs=1)
    starts = [segment.start for segment in verbose.segments or ()]
    assert starts == sorted(starts)
    assert starts[-1] > verbose.duration - 10


def test_openai_client_gets_the_reason_why_a_file_is_not_transcribed(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.audio.transcriptions.create(file=("a.mp3", b"no recording" * 100), model="whisper-1")
    assert raised.value.param == "file"
    # The client deprecates translations, since OpenAI does.
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError, match="knows English only"),
    ):
        client.audio.translations.create(file=RECORDING, model="whisper-1")


def test_openai_example_of_the_readme_runs_as_printed(stack: Stack, gateway_url: str, tmp_path: Path) -> None:
    shutil.copy(RECORDING, tmp_path / "meeting.m4a")
    [program] = code_for("test_openai_example_of_the_readme_runs_as_printed")
    names = {"gateway": gateway_url, "token": sign_up(stack).access_token}
    prologue = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    done = run([sys.executable, "-W", "error", "-c", prologue + program], cwd=tmp_path, env=environment({}))
    assert done.returncode == 0, done.stderr
    text, streamed = done.stdout.strip().splitlines()
    assert accuracy(text, TEXT) == 1
    assert streamed == text


@pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)
def test_openai_client_for_node_passes_its_script(stack: Stack, gateway_url: str) -> None:
    env = {**stack.env(), "SMELT_GATEWAY": gateway_url, "SMELT_RECORDING": str(RECORDING)}
    command = ["node", "--test", "--test-force-exit", "--test-reporter=spec", "gateway/openai.mjs"]
    done = run(command, cwd=JS, env=environment(env))
    assert done.returncode == 0, done.stdout + done.stderr
