"""Functions, recordings and broadcasts of a real project, and the mapping of its errors."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from smelt.backend.client_rpc import ClientRpc, FileSpec, SeenState
from smelt.backend.project import Project
from smelt.backend.retries import without_waiting
from smelt.backend.rpc import parse
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.state import Created, Snapshot, Unchanged
from smelt.errors import NotFound, RequestRejected, Unauthorized, Unavailable
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until
from tests.integration.backend.connections import ChannelRecorder


@pytest.fixture
def user(stack: Stack) -> User:
    return sign_up(stack)


@pytest.fixture
async def app(stack: Stack, user: User) -> AsyncIterator[Project]:
    async with Project(stack.api_url, stack.anon_key, access_token=user.access_token) as project:
        yield project


@pytest.fixture
async def service(stack: Stack) -> AsyncIterator[Project]:
    async with Project(stack.api_url, stack.service_role_key) as project:
        yield project


async def create_audio_smelt(app: Project, size_bytes: int) -> tuple[UUID, str]:
    created = await ClientRpc(app.rpc).create_smelt(files=[FileSpec("talk.mp3", size_bytes)])
    path = created.files[0].upload_path
    assert path is not None
    return created.id, path


async def test_get_smelt_returns_a_snapshot_once_and_then_unchanged(app: Project) -> None:
    calls = ClientRpc(app.rpc)
    created = await calls.create_smelt(text_input="Some words.")
    state = await calls.get_smelt(created.id)
    assert isinstance(state, Snapshot)
    assert isinstance(await calls.get_smelt(created.id, after_seq=state.seq), Unchanged)
    unknown = uuid4()
    states = await calls.get_smelts([SeenState(created.id, after_seq=state.seq), SeenState(unknown)])
    assert [type(one) for one in states.smelts] == [Unchanged]
    assert states.missing == (unknown,)


async def test_idempotent_create_returns_the_same_smelt_for_a_key(app: Project) -> None:
    calls, key = ClientRpc(app.rpc), str(uuid4())
    first = await calls.create_smelt(text_input="Some words.", idempotency_key=key)
    again = await calls.create_smelt(text_input="Some words.", idempotency_key=key)
    assert first.id == again.id
    with pytest.raises(RequestRejected) as rejected:
        await calls.create_smelt(text_input="Other words.", idempotency_key=key)
    assert rejected.value.code == "idempotency_conflict"


async def test_rejected_requests_carry_their_error_code(app: Project) -> None:
    calls = ClientRpc(app.rpc)
    with pytest.raises(RequestRejected) as rejected:
        await calls.create_smelt()
    assert rejected.value.code == "no_input"
    with pytest.raises(NotFound):
        await calls.get_smelt(uuid4())
    with pytest.raises(RequestRejected):
        await calls.get_smelt("no uuid")


async def test_worker_functions_reject_a_client_as_unauthorized(app: Project) -> None:
    with pytest.raises(Unauthorized):
        await WorkerRpc(app.rpc).claim_smelts("somebody")


@pytest.mark.parametrize("key", ["sb_publishable_wrong", "e30.e30.c2ln"])
async def test_wrong_key_raises_unauthorized(stack: Stack, key: str) -> None:
    async with Project(stack.api_url, key) as project:
        with pytest.raises(Unauthorized):
            await ClientRpc(project.rpc).get_smelt(uuid4())


async def test_token_that_is_stale_is_renewed_and_the_call_retried(stack: Stack, user: User) -> None:
    tokens = iter(["e30.e30.c2ln", user.access_token])

    async def fresh() -> str:
        return next(tokens)

    async with Project(stack.api_url, stack.anon_key, access_token=fresh) as project:
        created = await ClientRpc(project.rpc).create_smelt(text_input="Some words.")
        assert created.status == "pending"


async def test_unreachable_project_raises_unavailable() -> None:
    with without_waiting():
        async with Project("http://127.0.0.1:9", "key") as project:
            with pytest.raises(Unavailable) as unavailable:
                await ClientRpc(project.rpc).get_smelt(uuid4())
            assert isinstance(unavailable.value.__cause__, httpx.TransportError)
            with pytest.raises(Unavailable):
                await project.audio.remove(["x"])
            with pytest.raises(Unavailable):
                await project.realtime.post("smelt:x", "progress", {})


def test_response_of_an_unexpected_shape_is_rejected() -> None:
    with pytest.raises(RequestRejected) as rejected:
        parse(Created, {"id": "no uuid"})
    assert rejected.value.code == "unexpected_response"


async def test_upload_and_download_stream_a_recording_in_chunks(app: Project, service: Project, tmp_path: Path) -> None:
    recording = tmp_path / "talk.mp3"
    recording.write_bytes(bytes(range(256)) * 4096)
    _, path = await create_audio_smelt(app, recording.stat().st_size)
    sent: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        sent.append(sent_bytes)

    await app.audio.upload(path, recording, on_sent=on_sent)
    received: list[int] = []
    await service.audio.download(path, tmp_path / "copy", on_bytes=received.append)
    assert (tmp_path / "copy").read_bytes() == recording.read_bytes()
    assert sent[-1] == received[-1] == recording.stat().st_size
    assert len(sent) > 1
    with pytest.raises(RequestRejected) as rejected:
        await app.audio.upload(path, recording)
    assert rejected.value.code == "Duplicate"
    await service.audio.remove([path])
    await service.audio.remove([path])
    await service.audio.remove([])
    with pytest.raises(NotFound):
        await service.audio.download(path, tmp_path / "gone")


async def test_upload_of_an_unannounced_object_is_unauthorized(app: Project, tmp_path: Path) -> None:
    recording = tmp_path / "talk.mp3"
    recording.write_bytes(b"sound")
    with pytest.raises(Unauthorized):
        await app.audio.upload(f"{uuid4()}/{uuid4()}/talk.mp3", recording)
    with pytest.raises(FileNotFoundError):
        await app.audio.upload("x", tmp_path / "missing")


async def test_broadcast_is_allowed_for_the_service_and_denied_for_a_client(app: Project, service: Project) -> None:
    created = await ClientRpc(app.rpc).create_smelt(text_input="Some words.")
    recorder = ChannelRecorder()
    listener = await app.realtime.join(created.subscription_channel, recorder.events.append)
    sender = await service.realtime.join(created.subscription_channel)
    assert await listener.wait_joined(10)
    assert await sender.wait_joined(10)
    assert await sender.send("progress", {"by": "socket"})
    await service.realtime.post(created.subscription_channel, "progress", {"by": "rest"})
    await until(lambda: len(recorder.messages) == 2)
    assert recorder.messages == [("progress", {"by": "socket"}), ("progress", {"by": "rest"})]
    assert not await listener.send("progress", {"by": "a client"}, timeout_s=1)
    with pytest.raises(Unauthorized):
        await app.realtime.post(created.subscription_channel, "progress", {"by": "a client"})
    await service.realtime.post(created.subscription_channel, "progress", {"by": "the service again"})
    await until(lambda: len(recorder.messages) == 3)
    assert ("progress", {"by": "a client"}) not in recorder.messages


async def test_wake_up_broadcast_is_sent_for_a_new_smelt(app: Project, service: Project) -> None:
    recorder = ChannelRecorder()
    channel = await service.realtime.join("smelt-workers", recorder.events.append)
    assert await channel.wait_joined(10)
    await ClientRpc(app.rpc).create_smelt(text_input="Some words.")
    await until(lambda: recorder.messages)
