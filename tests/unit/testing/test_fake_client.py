"""The fake client lets users of the library test their code with scripted smelts."""

import asyncio
import inspect
import queue
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

import smelt
from smelt.contract.events import Output
from smelt.testing import FakeBlockingClient, FakeClient, FakeSmelt

pytest_plugins = ["pytester"]

OF_A_USER = """
import asyncio, smelt

async def percentages(client, smelt_id):
    return [update.percentage async for update in client.watch(smelt_id) if isinstance(update, smelt.Progress)]

def test_my_view(smelt_client):
    async def follow():
        job = smelt_client.add("meeting.m4a")
        watching = asyncio.create_task(percentages(smelt_client, job.id))
        job.progress("transcribing", 40, eta_seconds=12)
        job.complete("# Notes")
        return await watching

    assert asyncio.run(follow()) == [0, 40]
"""

HEAVY = """
import sys

def test_plugin_loads_no_module_unless_it_is_used():
    assert not {"httpx", "pydantic", "realtime", "postgrest", "smelt.testing"} & set(sys.modules)
"""


@pytest.fixture
async def client() -> AsyncIterator[FakeClient]:
    async with FakeClient() as opened:
        yield opened


async def collect_updates(client: FakeClient, smelt_id: object) -> list[smelt.Update]:
    return [update async for update in client.watch(str(smelt_id))]


async def test_fake_client_returns_options_and_metadata(client: FakeClient) -> None:
    created = await client.create(
        files=["a.ogg"], options=smelt.SmeltOptions(language="de"), metadata={"course": 17}, prompts=()
    )
    state = await client.get(created.id)
    assert (state.options, state.metadata, state.default_prompt_names) == ({"language": "de"}, {"course": 17}, ())


async def test_fake_client_names_a_speaker_of_an_ended_smelt(client: FakeClient) -> None:
    job = client.add("a.ogg", "b.ogg")
    job.segments("one", speaker="Speaker 1")
    job.segments("two", speaker="Speaker 2")
    job.complete()
    before = await client.get(job.id)
    after = await client.rename_speaker(job.id, "Speaker 1", "Ann")
    assert after.seq == before.seq + 1
    assert [segment.speaker for segment in after.segments] == ["Ann", "Speaker 2"]
    assert [file.speaker_names for file in after.files] == [{"Speaker 1": "Ann"}, {}]
    assert (await client.rename_speaker(job.id, "Speaker 1", "Speaker 1")).segments == before.segments
    with pytest.raises(smelt.RequestRejected) as error:
        await client.rename_speaker(job.id, "Speaker 1", "Ann", file_id=job.file_ids[1])
    assert error.value.code == "speaker_not_found"


async def test_fake_client_shows_outputs_until_the_end(client: FakeClient) -> None:
    job = client.add()
    summary = Output(file_id=job.file_ids[0], position=0, title="Summary", content="So far", is_complete=False)
    notes = summary.model_copy(update={"position": 1, "content": "Notes"})
    job.progress("synthesizing", 80, outputs=[summary])
    job.progress("synthesizing", 90, outputs=[summary, notes])
    assert (await client.get(job.id)).outputs == (summary, notes)
    job.complete("# Notes")
    assert (await client.get(job.id)).outputs == ()
    outputs = [update.outputs for update in await collect_updates(client, job.id) if isinstance(update, smelt.Progress)]
    assert outputs == [(), (summary,), (summary, notes)]


async def test_fake_client_delivers_the_same_updates_to_every_watch(client: FakeClient) -> None:
    created = await client.create(files=["a.ogg", "b.ogg"], prompts=["summarize"])
    job = client.smelts[created.id]
    early = asyncio.create_task(collect_updates(client, created.id))
    job.progress("decoding")
    await asyncio.sleep(0)
    job.progress("transcribing", 40, message="Resuming...", eta_seconds=3)
    job.progress("transcribing", 30)
    job.segments("one", "two")
    job.segments("three")
    job.segments("other", file=1)
    job.complete("notes", outcome="partial")
    first, *between, last = await early
    assert [first, *between, last] == await collect_updates(client, created.id) == job.updates
    assert isinstance(last, smelt.Completed)
    assert [result.content for result in last.results] == ["notes", ""]
    assert (await client.wait(created.id)).outcome == "partial"
    percentages = [update.percentage for update in between if isinstance(update, smelt.Progress)]
    assert percentages == [10, 40, 40]
    spoken = [one for update in between if isinstance(update, smelt.Segments) for one in update.segments]
    assert [(one.index, one.text) for one in spoken] == [(0, "one"), (1, "two"), (2, "three"), (0, "other")]


async def test_fake_client_creates_from_content_and_waits_for_submit(client: FakeClient) -> None:
    seen: list[smelt.UploadProgress] = []
    created = await client.create(files=["missing.ogg", ("talk.mp3", b"sound")], on_upload=seen.append)
    assert [file.filename for file in created.files] == ["missing.ogg", "talk.mp3"]
    assert sorted((upload.index, upload.sent_bytes, upload.size_bytes) for upload in seen) == [(0, 0, 0), (1, 5, 5)]
    note = await client.create(text="Ship it on Monday.", prompts=[], submit=False)
    assert note.default_prompt_names == ()
    assert (await client.get(note.id)).submitted_at is None
    assert (await client.submit(note.id)).submitted_at is not None


async def test_fake_client_simulates_failures_cancels_and_errors(client: FakeClient) -> None:
    job = client.add()
    job.fail("corrupted_file")
    with pytest.raises(smelt.SmeltFailed, match="corrupted_file"):
        await client.wait(job.id)
    with pytest.raises(ValueError, match="has ended"):
        job.progress("decoding")
    created = await client.create(text="Ship it.")
    await client.cancel(created.id)
    await client.cancel(created.id)
    assert isinstance((await collect_updates(client, created.id))[-1], smelt.Failed)
    broken = client.add()
    broken.raise_error(smelt.Unauthorized("signed out"))
    with pytest.raises(smelt.Unauthorized):
        await client.wait(broken.id)
    with pytest.raises(smelt.NotFound):
        await client.wait(FakeSmelt().id)
    with pytest.raises(TimeoutError):
        await client.wait(client.add().id, timeout_s=0)


def test_fake_client_fixture_is_loaded_only_when_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_used=OF_A_USER, test_unused=HEAVY)
    # Loaded by its module, so that the test does not depend on installed entry points.
    done = pytester.runpytest_subprocess(
        "-p", "no:smelt", "-p", "smelt.pytest_plugin", "test_unused.py", "test_used.py"
    )
    done.assert_outcomes(passed=2)


async def test_fake_client_calls_callbacks_in_order(client: FakeClient) -> None:
    job = client.add("a.ogg")
    calls: list[object] = []
    subscription = await client.subscribe(
        job.id,
        on_progress=lambda update: calls.append(update.percentage),
        on_segments=lambda update: calls.append(update.segments[0].text),
        on_failed=lambda update: calls.append(update.error_code),
    )
    job.progress("transcribing", 40)
    job.segments("one")
    job.fail("transcription_failed")
    await subscription.wait_closed()
    assert calls == [0, 40, "one", "transcription_failed"]


async def test_fake_client_reports_not_found_to_on_error(client: FakeClient) -> None:
    errors: list[Exception] = []
    subscription = await client.subscribe(UUID(int=1), on_error=errors.append)
    await subscription.wait_closed()
    assert [type(error) for error in errors] == [smelt.NotFound]


CLIENTS = [(smelt.Client, FakeClient), (smelt.blocking.Client, FakeBlockingClient)]


@pytest.mark.parametrize(("real", "fake"), CLIENTS)
def test_fake_clients_have_every_method_with_the_signature_of_the_real_one(real: type, fake: type) -> None:
    names = {name for name in dir(real) if not name.startswith("_")}
    assert names <= set(dir(fake))
    for name in names:
        fake_member, real_member = (inspect.getattr_static(client, name) for client in (fake, real))
        if callable(real_member):
            assert inspect.signature(fake_member).parameters == inspect.signature(real_member).parameters, name


async def test_fake_client_rejects_unknown_arguments_with_a_type_error(client: FakeClient) -> None:
    for call in (client.create, client.watch, client.wait, client.subscribe, client.feed, client.create_batch):
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            await call(nonsense=1)
    with pytest.raises(TypeError, match="lists"):
        await client.create(files="a.ogg")


async def test_fake_client_returns_snapshots_of_the_scripted_state(client: FakeClient) -> None:
    created = await client.create(files=["a.ogg"], prompts=["action_items"], submit=False, idempotency_key="one")
    assert await client.create(files=["a.ogg"], submit=False, idempotency_key="one") == created
    state = await client.get(created.id)
    assert (state.status, state.submitted_at, state.default_prompt_names) == ("pending", None, ("action_items",))
    assert (await client.submit(created.id)).submitted_at is not None
    job = client.smelts[created.id]
    job.progress("transcribing", 40, eta_seconds=3)
    job.segments("one")
    state = await client.get(created.id, with_words=True)
    assert (state.progress.percentage, state.eta_seconds, state.segments[0].text) == (40, 3, "one")
    assert state.files[0].status == "processing"
    job.complete("notes", outcome="partial")
    state = await client.get(created.id)
    assert (state.status, state.outcome, state.progress.percentage) == ("completed", "partial", 100)
    assert [result.content for result in state.results or ()] == ["notes"]
    await client.delete(created.id)
    with pytest.raises(smelt.NotFound):
        await client.get(created.id)


async def test_fake_client_retry_starts_the_next_run_and_keeps_the_transcript(client: FakeClient) -> None:
    job = client.add("a.ogg")
    job.progress("transcribing", 30)
    job.segments("one", "two")
    job.fail("synthesis_failed")
    before = await collect_updates(client, job.id)
    state = await client.retry(job.id)
    assert (state.run, state.status, state.error_code) == (2, "pending", None)
    job.complete("notes")
    assert (await client.retry(job.id)).status == "completed"
    again = await collect_updates(client, job.id)
    assert [type(update) for update in again] == [smelt.Progress, smelt.Segments, smelt.Completed]
    assert isinstance(before[-1], smelt.Failed)


async def test_fake_smelt_emits_connection_events(client: FakeClient) -> None:
    job = client.add("a.ogg")
    for event in (smelt.Connected(), smelt.Disconnected()):
        job.connection_event(event)
    connections: list[str] = []
    subscription = await client.subscribe(
        job.id,
        on_connected=lambda: connections.append("connected"),
        on_disconnected=lambda: connections.append("disconnected"),
    )
    await subscription.refresh()
    job.fail()
    await subscription.wait_closed()
    assert connections == ["connected", "disconnected"]
    assert len(await collect_updates(client, job.id)) == 2
    items = [item async for item in client.watch(job.id, connection_events=True)]
    assert [type(item) for item in items] == [smelt.Progress, smelt.Connected, smelt.Disconnected, smelt.Failed]


async def test_fake_feed_delivers_the_changes_of_smelts(client: FakeClient) -> None:
    first = client.add("a.ogg")
    keys: set[smelt.CacheKey] = set()
    async with client.feed(on_invalidate=keys.update) as feed:
        inserted = [await anext(feed), await anext(feed)]
        assert {(type(change), change.kind) for change in inserted} == {
            (smelt.SmeltChange, "insert"),
            (smelt.FileChange, "insert"),
        }
        first.progress("transcribing", 40)
        changed = await anext(feed)
        assert isinstance(changed, smelt.SmeltChange)
        assert (changed.kind, changed.row.percentage) == ("update", 40)
        await anext(feed)
        await client.delete(first.id)
        kinds = {(await anext(feed)).kind for _ in range(2)}
        assert kinds == {"delete"}
        assert feed.smelts == {}
        assert str(client.diagnostics()).startswith("Realtime connected")
    assert smelt.CacheKey("smelt", first.id) in keys


async def test_fake_notifications_are_delivered_and_can_be_marked(client: FakeClient) -> None:
    early = client.add_notification("Ready: a.ogg", "All files are processed.")
    async with client.notifications() as notifications:
        assert await anext(notifications) == early
        late = client.add_notification("Ready: b.ogg")
        assert (await anext(notifications)).title == late.title
        assert await notifications.mark_seen(early.id, late.id) == 2
        assert await notifications.mark_read(early.id) == 1
        assert await notifications.mark_read(early.id) == 0
    async with client.notifications() as notifications:
        assert (await anext(notifications)).id == late.id


async def test_fake_batch_counts_its_smelts(client: FakeClient) -> None:
    batch = await client.create_batch("Tuesday")
    one, two = [await client.create(text=text, batch_id=batch.id) for text in ("one", "two")]
    states = client.watch_batch(batch.id)
    state = await anext(states)
    assert (state.total, state.status) == (2, "pending")
    client.smelts[one.id].complete("notes")
    state = await anext(states)
    assert (state.completed, state.progress, state.status) == (1, 50, "processing")
    await client.cancel(two.id)
    last = [state async for state in states][-1]
    assert (last.failed, last.progress, last.status) == (1, 100, "completed")
    with pytest.raises(smelt.NotFound):
        await anext(client.watch_batch(UUID(int=1)))
    with pytest.raises(smelt.NotFound):
        await client.create(text="three", batch_id=UUID(int=1))


async def test_fake_client_without_sign_in_raises_unauthorized() -> None:
    async with FakeClient(signed_in=False) as visitor:
        for opening in (visitor.feed().__aenter__, visitor.notifications().__aenter__, visitor.create_batch):
            with pytest.raises(smelt.Unauthorized):
                await opening()


def test_fake_blocking_client_works_without_an_event_loop(smelt_blocking_client: FakeBlockingClient) -> None:
    client = smelt_blocking_client
    created = client.create(files=["a.ogg"])
    job = client.smelts[created.id]
    updates = client.watch(created.id)
    assert isinstance(next(updates), smelt.Progress)
    seen: queue.Queue[float] = queue.Queue()
    subscription = client.subscribe(created.id, on_progress=lambda update: seen.put(update.percentage))
    assert seen.get(timeout=10) == 0
    job.progress("transcribing", 40)
    assert seen.get(timeout=10) == 40
    with client.feed() as feed:
        assert isinstance(next(feed), smelt.SmeltChange)
        client.add("b.ogg")
    with client.notifications() as notifications:
        client.add_notification("Ready: a.ogg")
        assert next(notifications).title == "Ready: a.ogg"
    job.complete("notes")
    assert isinstance(list(updates)[-1], smelt.Completed)
    subscription.wait_closed()
    assert client.wait(created.id, timeout_s=10).results[0].content == "notes"
    assert client.get(created.id).status == "completed"


def test_fake_smelt_may_be_scripted_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")  # In debug mode, calls that are not thread-safe raise an error.
    seen: queue.Queue[float] = queue.Queue()
    with FakeBlockingClient() as client:
        job = client.add("a.ogg")
        client.subscribe(job.id, on_progress=lambda update: seen.put(update.percentage))
        for percentage in range(20, 70):
            job.progress("transcribing", percentage)
            while seen.get(timeout=10) != percentage:
                pass


def test_fake_blocking_client_close_ends_a_watch_in_another_thread() -> None:
    with ThreadPoolExecutor() as pool:
        with FakeBlockingClient() as client:
            updates = client.watch(client.add("a.ogg").id)
            next(updates)
            watching = pool.submit(list, updates)
        with pytest.raises(smelt.SmeltError):
            watching.result(10)


async def test_fake_smelt_emits_worker_online(client: FakeClient) -> None:
    job = client.add()
    job.workers(online=False)
    job.workers(online=False)
    job.workers(online=True)
    job.progress("decoding")
    online = [update.worker_online for update in job.updates if isinstance(update, smelt.Progress)]
    assert online == [None, False, True, True]
