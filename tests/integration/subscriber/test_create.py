"""Creation of smelts: recordings are uploaded, and a failure leaves no smelt."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.backend.upload_source import MAX_SPOOLED_BYTES, Content
from smelt.contract.options import SmeltOptions
from smelt.contract.rows import SmeltRow
from smelt.contract.state import Created
from smelt.errors import NotFound, PermanentError, RequestRejected
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Progress
from smelt.subscriber.uploads import UPLOADS_AT_ONCE, OnUpload, UploadProgress
from tests.harness.cancellation import cancel_at_every_await
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"
QUESTION = Path(__file__).parents[2] / "recordings" / "question.ogg"


async def test_create_uploads_and_submits_several_recordings(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(files=[GREETING, str(QUESTION)], prompts=["action_items"], mode="combine")
    assert [file.filename for file in created.files] == ["greeting.ogg", "question.ogg"]
    assert created.default_prompt_names == ("action_items",)
    assert (await client.get(created.id)).submitted_at is not None
    job = await scripted_worker.claim(created.id)
    assert all(file.object_version for file in job.claim.files)


async def test_create_from_text_submits_without_an_upload(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    assert (await client.get(created.id)).submitted_at is not None


async def test_create_from_text_with_submit_false_waits_for_submit(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await client.create(text="Ship it on Monday.", submit=False)
    assert (await client.get(created.id)).submitted_at is None
    assert (await client.submit(created.id)).submitted_at is not None
    assert (await scripted_worker.claim(created.id)).claim.text_input == "Ship it on Monday."


async def test_idempotent_create_submits_a_text_that_is_not_submitted_yet(client: Client) -> None:
    key = str(uuid4())
    first = await client.create(text="Ship it on Monday.", idempotency_key=key, submit=False)
    assert (await client.create(text="Ship it on Monday.", idempotency_key=key)).id == first.id
    assert (await client.get(first.id)).submitted_at is not None


OPTIONS: dict[str, object] = {
    "language": "de",
    "task": "translate",
    "vocabulary": ("Anna Schmidt", "Kubernetes"),
    "word_times": True,
    "channels": "separate",
    "model": "small",
    "keep_audio_h": 0.5,
}


@pytest.mark.parametrize("name", OPTIONS)
async def test_options_reach_the_worker_and_the_snapshot(
    client: Client, scripted_worker: ScriptedWorker, name: str
) -> None:
    requested = SmeltOptions.model_validate({name: OPTIONS[name]})
    created = await client.create(files=[GREETING], options=requested)
    job = await scripted_worker.claim(created.id, models=["small"])
    assert SmeltOptions.model_validate(job.claim.options) == requested
    assert job.claim.options == (await client.get(created.id)).options != {}


async def test_options_that_contradict_a_text_are_rejected_by_name(client: Client) -> None:
    with pytest.raises(RequestRejected, match='"language" is for recordings') as rejected:
        await client.create(text="Ship it on Monday.", options=SmeltOptions(language="de"))
    assert rejected.value.code == "invalid_options"


async def test_model_that_no_worker_has_is_named_until_one_has(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(files=[GREETING], options=SmeltOptions(model="missing"))
    seen: list[Progress] = []
    subscription = await client.subscribe(created.id, on_progress=seen.append)
    await asyncio.wait_for(subscription.refresh(), 10)
    assert (seen[-1].message, seen[-1].worker_online) == ("No worker has the model missing.", False)
    await scripted_worker.calls.heartbeat_worker("with the model", {"models": ["missing"]})
    try:
        await asyncio.wait_for(subscription.refresh(), 10)
        assert (seen[-1].message, seen[-1].worker_online) == ("Waiting to process...", True)
    finally:
        await scripted_worker.calls.remove_worker("with the model")
    await client.cancel(created.id)


async def test_metadata_is_in_the_snapshot_the_feed_and_the_notification(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    metadata = {"course": 17, "tags": ["physics", None]}
    async with client.feed() as feed, client.notifications() as notifications:
        created = await client.create(text="Ship it on Monday.", metadata=metadata)
        async with asyncio.timeout(30):
            async for change in feed:
                if isinstance(change.row, SmeltRow) and change.row.id == created.id:
                    break
            assert feed.smelts[created.id].metadata == metadata
            job = await scripted_worker.claim(created.id)
            await job.complete()
            async for notification in notifications:
                if notification.smelt_id == created.id:
                    break
        assert notification.data["metadata"] == metadata
    assert (await client.get(created.id)).metadata == metadata


async def test_metadata_above_4_kib_is_rejected(client: Client) -> None:
    with pytest.raises(RequestRejected) as rejected:
        await client.create(text="Ship it on Monday.", metadata={"large": "x" * 4096})
    assert rejected.value.code == "invalid_request"


async def test_create_without_prompts_makes_the_transcript_the_result(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await client.create(files=[GREETING], prompts=())
    assert created.default_prompt_names == ()
    assert (await scripted_worker.claim(created.id)).claim.default_prompt_names == ()
    with pytest.raises(RequestRejected) as rejected:
        await client.create(text="Ship it on Monday.", prompts=())
    assert rejected.value.code == "invalid_request"


async def test_create_for_a_user_is_reserved_to_the_service(shared_stack: Stack, client: Client, user: User) -> None:
    async with connect(shared_stack.api_url, shared_stack.service_role_key) as service:
        created = await service.create(files=[GREETING], user_id=user.id)
        with pytest.raises(RequestRejected) as unknown:
            await service.create(text="Ship it on Monday.", user_id=uuid4())
    assert unknown.value.code == "invalid_request"
    async with Project(shared_stack.api_url, shared_stack.anon_key, access_token=user.access_token) as project:
        [listed] = await ClientRpc(project.rpc).list_smelts(10)
    assert (listed.id, str(listed.user_id)) == (created.id, user.id)
    assert (await client.create(text="Ship it on Monday.", user_id=user.id)).id != created.id
    with pytest.raises(RequestRejected) as other:
        await client.create(text="Ship it on Monday.", user_id=uuid4())
    assert other.value.code == "not_allowed"


async def test_submit_can_be_called_after_create(client: Client) -> None:
    created = await client.create(files=[GREETING], submit=False)
    assert (await client.get(created.id)).submitted_at is None
    assert (await client.submit(created.id)).submitted_at is not None


async def test_idempotent_create_submits_a_smelt_that_is_not_submitted_yet(client: Client) -> None:
    key = str(uuid4())
    first = await client.create(files=[GREETING], idempotency_key=key, submit=False)
    again = await client.create(files=[GREETING], idempotency_key=key)
    assert (await client.get(first.id)).submitted_at is not None
    third = await client.create(files=[GREETING], idempotency_key=key)
    assert first.id == again.id == third.id


async def test_idempotent_create_returns_a_smelt_that_an_equal_call_submits_during_the_upload(client: Client) -> None:
    key, submitted = str(uuid4()), list[UUID]()
    names = [f"{number}.ogg" for number in range(UPLOADS_AT_ONCE + 1)]

    async def submit_meanwhile(_: UploadProgress) -> None:
        if not submitted:
            submitted.append((await create()).id)

    async def create(on_upload: OnUpload | None = None) -> Created:
        files = [(name, GREETING.read_bytes()) for name in names]
        return await client.create(files=files, idempotency_key=key, on_upload=on_upload)

    created = await create(submit_meanwhile)
    assert submitted == [created.id]
    state = await client.get(created.id)
    assert [file.filename for file in state.files] == names


async def test_create_with_a_missing_file_raises_file_not_found(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await client.create(files=[GREETING, tmp_path / "missing.mp3"])


async def test_create_rejected_by_the_server_carries_its_error_code(shared_stack: Stack) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key) as visitor:
        with pytest.raises(RequestRejected) as rejected:
            await visitor.create(files=[GREETING, QUESTION])
    assert rejected.value.code == "too_many_files"


# More than one chunk, and more than is spooled in memory.
SOUND = bytes(range(251)) * (MAX_SPOOLED_BYTES // 251 + 2000)


def read_position_at_the_end() -> Content:
    stream = io.BytesIO(SOUND)
    stream.read()
    return stream


def parts() -> Content:
    async def generate() -> AsyncIterator[bytes]:
        for start in range(0, len(SOUND), 100_000):
            yield SOUND[start : start + 100_000]

    return generate()


CONTENTS: dict[str, Callable[[], Content]] = {
    "bytes": lambda: SOUND,
    "memoryview": lambda: memoryview(SOUND),
    "file object at its end": read_position_at_the_end,
    "async iterator": parts,
    "file object without seek": lambda: Unseekable(SOUND),
}


class Unseekable(io.RawIOBase):
    """A stream that can be read once, such as a pipe."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self._content.readinto(buffer)


@pytest.fixture
async def service(shared_stack: Stack) -> AsyncIterator[Project]:
    async with Project(shared_stack.api_url, shared_stack.service_role_key) as project:
        yield project


@pytest.mark.parametrize("kind", CONTENTS)
async def test_upload_is_repeated_from_the_start_after_an_outage(
    kind: str, proxy: FaultyProxy, shared_stack: Stack, user: User, service: Project, tmp_path: Path
) -> None:
    """The first connection is cut while the file is sent; the stored object has the whole content."""
    seen: list[UploadProgress] = []

    def cut_once(progress: UploadProgress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            proxy.cut("rest")

    async with connect(proxy.url, shared_stack.anon_key, user.access_token) as client:
        created = await client.create(files=[("talk.mp3", CONTENTS[kind]())], on_upload=cut_once)
        assert (await client.get(created.id)).submitted_at is not None
    (file,) = created.files
    assert file.upload_path is not None
    await service.audio.download(file.upload_path, stored := tmp_path / "stored")
    assert await asyncio.to_thread(stored.read_bytes) == SOUND
    sent = [progress.sent_bytes for progress in seen]
    assert sent != sorted(sent)
    assert seen[-1] == UploadProgress(0, "talk.mp3", len(SOUND), len(SOUND))


async def test_on_upload_is_called_for_each_file_up_to_its_size(client: Client, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(SOUND)
    seen: list[UploadProgress] = []

    async def record(progress: UploadProgress) -> None:
        seen.append(progress)

    await client.create(files=[GREETING, large, ("empty.ogg", b"")], on_upload=record)
    sizes = {"greeting.ogg": GREETING.stat().st_size, "large.wav": len(SOUND), "empty.ogg": 0}
    for index, (filename, size_bytes) in enumerate(sizes.items()):
        of_file = [progress for progress in seen if progress.index == index]
        assert {(progress.filename, progress.size_bytes) for progress in of_file} == {(filename, size_bytes)}
        assert [progress.sent_bytes for progress in of_file] == [*range(1 << 18, size_bytes, 1 << 18), size_bytes]


async def test_on_upload_ends_the_upload_with_its_exception_and_deletes_the_smelt(
    client: Client, shared_stack: Stack, user: User
) -> None:
    def stop(_: UploadProgress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.create(files=[("talk.mp3", SOUND)], on_upload=stop)
    assert await smelts_of(shared_stack, user) == []


async def test_create_rejects_a_file_that_changes_while_it_is_uploaded(client: Client, tmp_path: Path) -> None:
    recording = tmp_path / "talk.mp3"
    recording.write_bytes(SOUND)

    def shorten(_: UploadProgress) -> None:
        os.truncate(recording, 300_000)

    with pytest.raises(PermanentError, match=r"talk\.mp3 has changed"):
        await client.create(files=[recording], on_upload=shorten)


@pytest.mark.parametrize("given", [{"files": [GREETING]}, {"text": "Ship it on Monday."}], ids=["files", "text"])
@pytest.mark.parametrize("repeatedly", [False, True])
async def test_create_cancelled_at_any_await_leaves_no_smelt(
    given: dict[str, Any], repeatedly: bool, client: Client, shared_stack: Stack, user: User
) -> None:
    created: list[str] = []

    async def create() -> None:
        created.append(str((await client.create(**given)).id))

    async def check() -> None:
        assert [row["id"] for row in await smelts_of(shared_stack, user)] == created

    assert await cancel_at_every_await(create, check, repeatedly=repeatedly)


async def test_create_cancelled_during_an_outage_ends_without_its_end(
    proxy: FaultyProxy, shared_stack: Stack, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smelt.subscriber.client.ABANDON_TIMEOUT_S", 0.1)
    async with connect(proxy.url, shared_stack.anon_key, user.access_token) as client:
        stalled = asyncio.Event()

        def stall(_: UploadProgress) -> None:
            proxy.stall("rest")
            stalled.set()

        creating = asyncio.create_task(client.create(files=[("talk.mp3", SOUND)], on_upload=stall))
        await stalled.wait()
        creating.cancel()
        await asyncio.wait([creating], timeout=30)
        assert creating.cancelled()


async def test_create_cancelled_with_an_idempotency_key_can_be_resumed(
    client: Client, shared_stack: Stack, user: User
) -> None:
    key, seen = str(uuid4()), asyncio.Event()
    creating = asyncio.create_task(
        client.create(files=[("talk.mp3", SOUND)], idempotency_key=key, on_upload=lambda _: seen.set())
    )
    await seen.wait()
    creating.cancel()
    await asyncio.wait([creating])
    (row,) = await smelts_of(shared_stack, user)
    resumed = await client.create(files=[("talk.mp3", SOUND)], idempotency_key=key)
    assert str(resumed.id) == row["id"]
    assert (await client.get(resumed.id)).submitted_at is not None


@pytest.mark.parametrize(
    "file",
    [b"sound", io.BytesIO(b"sound"), ("talk.mp3", "sound"), ("talk.mp3", io.StringIO("sound")), ("talk.mp3",), None],
    ids=["bytes", "file object", "str", "text file", "name alone", "None"],
)
async def test_create_rejects_content_without_a_name_and_text(client: Client, file: object) -> None:
    with pytest.raises(TypeError, match="a tuple of a filename and its content"):
        await client.create(files=[file])  # type: ignore[list-item]


async def test_delete_makes_get_raise_not_found(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    await client.delete(created.id)
    with pytest.raises(NotFound):
        await client.get(created.id)


async def test_upload_failure_deletes_the_smelt(
    client: Client, shared_stack: Stack, user: User, tmp_path: Path
) -> None:
    folder = tmp_path / "folder.mp3"  # It has a size, but cannot be read.
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        await client.create(files=[folder])
    assert await smelts_of(shared_stack, user) == []


async def smelts_of(stack: Stack, user: User) -> list[Any]:
    """Return the rows of the smelts of a user."""
    async with Project(stack.api_url, stack.anon_key, access_token=user.access_token) as project:
        return await project.rpc.rows("smelts")
