"""Outputs are shown as they are written, and a killed worker keeps those that are complete."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import Response

import smelt
from smelt.contract.events import Output
from tests.harness.fake_llm import paced_response, serving
from tests.harness.recorder import Recorder
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import TIMEOUT_S, WorkerProcess, app_client, running_worker

SUMMARY = "Anna calls Ben."
PAIRS = "**Q: Who calls?**\n\nA: Anna."


def shown(recorder: Recorder) -> list[tuple[str, str, bool]]:
    """Return title, text and completeness of each output in the last progress that a watch has yielded."""
    progress = [
        update for updates in recorder.updates.values() for update in updates if isinstance(update, smelt.Progress)
    ]
    return [listed(output) for output in progress[-1].outputs] if progress else []


def listed(output: Output) -> tuple[str, str, bool]:
    return output.title, output.content, output.is_complete


async def test_output_is_shown_while_the_next_is_written_and_is_not_requested_again_after_a_kill(
    project: Stack, tmp_path: Path
) -> None:
    begun = [("Summary", SUMMARY, True), ("Questions and answers", PAIRS[:10], False)]
    requested: list[str] = []

    async def interrupted() -> AsyncIterator[str]:
        yield PAIRS[:10]
        await asyncio.Event().wait()

    def respond(messages: list[dict[str, str]]) -> str | Response:
        requested.append("summary" if messages[1]["content"].startswith("Summarize") else "pairs")
        match requested:
            case [*_, "summary"]:
                return SUMMARY
            case ["summary", "pairs"]:
                return paced_response(interrupted())
            case _:
                return PAIRS

    recorder = Recorder()
    async with (
        app_client(project) as app,
        serving(respond) as model,
        smelt.connect(project.api_url, project.anon_key) as client,
    ):
        created = await app.create(text_input="Anna will call Ben.", prompts=["summarize", "qa_format"])
        following = asyncio.create_task(recorder.watch(client, created.id))
        llm = {"SMELT_LLM_BASE_URL": model.base_url, "SMELT_LLM_MODEL": "m"}
        worker = WorkerProcess(project, tmp_path, SMELT_LEASE_S="5", **llm)
        try:
            await until(lambda: shown(recorder) == begun)
            state = await app.state(created.id)
            assert [listed(output) for output in state.outputs] == begun
            assert state.results is None
            worker.end(signal.SIGKILL)
        finally:
            worker.close()
        async with running_worker(project, tmp_path, llm_base_url=model.base_url, llm_model="m"):
            await asyncio.wait_for(following, TIMEOUT_S)
        state = await app.state(created.id)
    assert requested == ["summary", "pairs", "pairs"]
    assert state.outputs == ()
    [result] = state.results or ()
    assert result.content == f"## Summary\n\n{SUMMARY}\n\n## Questions and answers\n\n{PAIRS}"
    progress = [update for update in recorder.updates[created.id] if isinstance(update, smelt.Progress)]
    percentages = [update.percentage for update in progress]
    assert percentages == sorted(percentages)
    # From the first on, each update has the finished output.
    first = next(place for place, update in enumerate(progress) if update.outputs)
    finished = [[listed(output) for output in update.outputs][:1] for update in progress[first:]]
    assert [one for one in finished if one != begun[:1]] in ([], [[("Summary", "", False)]])
