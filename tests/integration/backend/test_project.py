"""Functions, recordings and broadcasts of a real project, with errors of smelt's own tree."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from stacks import Stack, User, sign_up
from waiting import until

from smelt.backend.client_calls import Announced, ClientCalls, Known
from smelt.backend.project import Project
from smelt.backend.retrying import without_waiting
from smelt.backend.rpc import parse
from smelt.backend.worker_calls import WorkerCalls
from smelt.contract.state import Created, Snapshot, Unchanged
from smelt.errors import NotFound, RequestRefused, Unauthorized, Unavailable


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


async def announce(app: Project, size_bytes: int) -> tuple[UUID, str]:
    created = await ClientCalls(app.rpc).create_smelt(files=[Announced("talk.mp3", size_bytes)])
    path = created.files[0].upload_path
    assert path is not None
    return created.id, path


async def test_the_state_of_a_smelt_is_told_once_and_then_only_that_it_is_unchanged(app: Project) -> None:
    calls = ClientCalls(app.rpc)
    created = await calls.create_smelt(text_input="Some words.")
    state = await calls.get_smelt(created.id)
    assert isinstance(state, Snapshot)
    assert isinstance(await calls.get_smelt(created.id, after_seq=state.seq), Unchanged)
    gone = uuid4()
    states = await calls.get_smelts([Known(created.id, after_seq=state.seq), Known(gone)])
    assert [type(one) for one in states.smelts] == [Unchanged]
    assert states.missing == (gone,)


async def test_the_same_idempotency_key_answers_the_same_smelt(app: Project) -> None:
    calls, key = ClientCalls(app.rpc), str(uuid4())
    first = await calls.create_smelt(text_input="Some words.", idempotency_key=key)
    again = await calls.create_smelt(text_input="Some words.", idempotency_key=key)
    assert first.id == again.id
    with pytest.raises(RequestRefused) as refused:
        await calls.create_smelt(text_input="Other words.", idempotency_key=key)
    assert refused.value.code == "idempotency_conflict"


async def test_refusals_carry_their_code(app: Project) -> None:
    calls = ClientCalls(app.rpc)
    with pytest.raises(RequestRefused) as refused:
        await calls.create_smelt()
    assert refused.value.code == "no_input"
    with pytest.raises(NotFound):
        await calls.get_smelt(uuid4())
    with pytest.raises(RequestRefused):
        await calls.get_smelt("no uuid")


async def test_the_functions_of_workers_are_for_workers(app: Project) -> None:
    with pytest.raises(Unauthorized):
        await WorkerCalls(app.rpc).claim_smelts("somebody")


@pytest.mark.parametrize("key", ["sb_publishable_wrong", "e30.e30.c2ln"])
async def test_a_wrong_key_is_unauthorized(stack: Stack, key: str) -> None:
    async with Project(stack.api_url, key) as project:
        with pytest.raises(Unauthorized):
            await ClientCalls(project.rpc).get_smelt(uuid4())


async def test_a_stale_token_is_renewed_and_the_call_goes_through(stack: Stack, user: User) -> None:
    tokens = iter(["e30.e30.c2ln", user.access_token])

    async def fresh() -> str:
        return next(tokens)

    async with Project(stack.api_url, stack.anon_key, access_token=fresh) as project:
        created = await ClientCalls(project.rpc).create_smelt(text_input="Some words.")
        assert created.status == "pending"


async def test_a_project_that_is_not_there_is_unavailable() -> None:
    with without_waiting():
        async with Project("http://127.0.0.1:9", "key") as project:
            with pytest.raises(Unavailable) as unavailable:
                await ClientCalls(project.rpc).get_smelt(uuid4())
            assert isinstance(unavailable.value.__cause__, httpx.TransportError)
            with pytest.raises(Unavailable):
                await project.audio.remove(["x"])
            with pytest.raises(Unavailable):
                await project.realtime.post("smelt:x", "progress", {})


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(Created, {"id": "no uuid"})
    assert refused.value.code == "unexpected_answer"


async def test_a_recording_goes_up_and_comes_down_piece_by_piece(
    app: Project, service: Project, tmp_path: Path
) -> None:
    recording = tmp_path / "talk.mp3"
    recording.write_bytes(bytes(range(256)) * 4096)
    _, path = await announce(app, recording.stat().st_size)
    sent: list[int] = []
    await app.audio.upload(path, recording, on_bytes=sent.append)
    received: list[int] = []
    await service.audio.download(path, tmp_path / "copy", on_bytes=received.append)
    assert (tmp_path / "copy").read_bytes() == recording.read_bytes()
    assert sent[-1] == received[-1] == recording.stat().st_size
    assert len(sent) > 1
    with pytest.raises(RequestRefused) as refused:
        await app.audio.upload(path, recording)
    assert refused.value.code == "Duplicate"
    await service.audio.remove([path])
    await service.audio.remove([path])
    await service.audio.remove([])
    with pytest.raises(NotFound):
        await service.audio.download(path, tmp_path / "gone")


async def test_nobody_uploads_where_nothing_was_announced(app: Project, tmp_path: Path) -> None:
    recording = tmp_path / "talk.mp3"
    recording.write_bytes(b"sound")
    with pytest.raises(Unauthorized):
        await app.audio.upload(f"{uuid4()}/{uuid4()}/talk.mp3", recording)
    with pytest.raises(FileNotFoundError):
        await app.audio.upload("x", tmp_path / "missing")


async def test_a_broadcast_of_the_service_arrives_by_either_way_and_one_of_a_client_by_none(
    app: Project, service: Project
) -> None:
    created = await ClientCalls(app.rpc).create_smelt(text_input="Some words.")
    heard: list[object] = []
    listener = await app.realtime.join(
        created.subscription_channel, on_message=lambda _, payload: heard.append(payload)
    )
    speaker = await service.realtime.join(created.subscription_channel)
    assert await listener.wait_joined(10)
    assert await speaker.wait_joined(10)
    assert await speaker.send("progress", {"by": "socket"})
    await service.realtime.post(created.subscription_channel, "progress", {"by": "rest"})
    await until(lambda: len(heard) == 2)
    assert heard == [{"by": "socket"}, {"by": "rest"}]
    assert not await listener.send("progress", {"by": "a client"}, timeout_s=1)
    with pytest.raises(Unauthorized):
        await app.realtime.post(created.subscription_channel, "progress", {"by": "a client"})
    await service.realtime.post(created.subscription_channel, "progress", {"by": "the service again"})
    await until(lambda: len(heard) == 3)
    assert {"by": "a client"} not in heard


async def test_workers_are_woken_by_a_new_smelt(app: Project, service: Project) -> None:
    woken = asyncio.Event()
    channel = await service.realtime.join("smelt-workers", on_message=lambda *_: woken.set())
    assert await channel.wait_joined(10)
    await ClientCalls(app.rpc).create_smelt(text_input="Some words.")
    await asyncio.wait_for(woken.wait(), 10)
