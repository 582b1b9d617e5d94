"""A speaker of a smelt that has ended gets a name, which every reader sees."""

import asyncio

import pytest

import smelt.blocking
from smelt.contract.state import Created
from smelt.errors import NotFound, RequestRejected
from smelt.subscriber.client import Client, connect
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until
from tests.integration.subscriber.test_show_and_delete import env
from tests.integration.subscriber.test_show_and_delete import smelt as command

__all__ = ["env"]


async def completed(client: Client, scripted_worker: ScriptedWorker) -> Created:
    """Return a completed smelt with one segment of `Speaker 1`, who is in the notes as well."""
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    transcribed = {"id": str(created.files[0].id), "transcribed": True}
    await job.report("synthesizing", 80, words=["hello"], speaker="Speaker 1", files=[transcribed])
    await job.complete("- Speaker 1: hello")
    return created


async def test_name_of_a_speaker_reaches_the_feed_and_all_documents_after_the_end(
    client: Client, scripted_worker: ScriptedWorker, env: dict[str, str]
) -> None:
    async with client.feed() as feed:
        created = await completed(client, scripted_worker)
        await until(lambda: created.id in feed.smelts and feed.smelts[created.id].status == "completed")
        seq = feed.smelts[created.id].seq
        code, out, err = await command(env, "rename-speaker", str(created.id), "Speaker 1", "Ann <b>")
        assert (code, err) == (0, "")
        assert out == "text: Speaker 1 is Ann <b>\n"
        await until(lambda: feed.smelts[created.id].seq == seq + 1)
    state = await client.get(created.id)
    assert [segment.speaker for segment in state.segments] == ["Ann <b>"]
    assert [result.content for result in state.results or ()] == [r"- Ann \<b>: hello"]
    # A watch of an ended smelt begins with its end, which has the name.
    assert (await client.wait(created.id)).results == state.results
    shown = {
        form: (await command(env, "show", str(created.id), "--format", form))[1]
        for form in ("md", "txt", "srt", "vtt", "json")
    }
    assert all("Speaker 1" not in text for form, text in shown.items() if form != "json"), shown
    assert "Ann <b>: hello" in shown["txt"]
    assert "<v Ann &lt;b&gt;>" in shown["vtt"]
    assert '"speaker": "Ann <b>"' in shown["json"]


async def test_rename_of_a_speaker_is_rejected_for_others_and_unknown_labels(
    shared_stack: Stack, user: User, client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await completed(client, scripted_worker)
    other = sign_up(shared_stack)
    async with connect(shared_stack.api_url, shared_stack.anon_key, other.access_token) as stranger:
        with pytest.raises(NotFound):
            await stranger.rename_speaker(created.id, "Speaker 1", "Ann")
    with pytest.raises(RequestRejected) as error:
        await client.rename_speaker(created.id, "Ann", "Ben")
    assert error.value.code == "speaker_not_found"

    def rename() -> dict[str, str]:
        with smelt.blocking.connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as blocking:
            state = blocking.rename_speaker(created.id, "Speaker 1", "Ann", file_id=created.files[0].id)
            return state.files[0].speaker_names

    assert await asyncio.to_thread(rename) == {"Speaker 1": "Ann"}
