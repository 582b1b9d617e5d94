"""Uploads above 6 MiB continue after cuts, and in later calls."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from smelt.backend.audio import AudioStore
from smelt.backend.client_rpc import ClientRpc, FileSpec
from smelt.backend.project import Project
from smelt.backend.resumable import MAX_SAVED_UPLOADS, PIECE_BYTES, SavedUploads
from smelt.backend.retries import without_waiting
from smelt.errors import RequestRejected, Unauthorized
from tests.harness.proxies import CountingProxy, counting_proxy
from tests.harness.stacks import Stack, User, sign_up

MIB = 1024 * 1024
ENDPOINT = "/storage/v1/upload/resumable"


class Interrupted(Exception):
    """Ends an upload in the middle, like a signal."""


@dataclass
class Cache:
    """The folder of the ids of unfinished uploads."""

    folder: Path

    def ids(self) -> list[str]:
        """Return all ids."""
        return [path.read_text() for path in self.folder.iterdir()]

    def modes(self) -> list[int]:
        """Return the permissions of the files."""
        return [path.stat().st_mode & 0o777 for path in self.folder.iterdir()]

    def replace(self, path: Path, upload_id: str) -> None:
        """Change the id of an upload."""
        path.write_text(upload_id, encoding="utf-8")

    def file(self) -> Path:
        """Return the only file."""
        [path] = self.folder.iterdir()
        return path


@dataclass
class Recording:
    """A file to upload."""

    path: Path
    content: bytes

    def overwrite(self, content: bytes) -> None:
        """Change the content, but not the modification time."""
        before = self.path.stat()
        self.path.write_bytes(content)
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cache:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache" / "smelt" / "uploads")


@pytest.fixture(autouse=True)
def no_backoff() -> Iterator[None]:
    with without_waiting():
        yield


@pytest.fixture
def user(stack: Stack) -> User:
    return sign_up(stack)


@pytest.fixture
async def proxy(stack: Stack) -> AsyncIterator[CountingProxy]:
    async with counting_proxy(stack.api_url) as running:
        yield running


@pytest.fixture
async def app(proxy: CountingProxy, stack: Stack, user: User) -> AsyncIterator[Project]:
    async with Project(proxy.url, stack.anon_key, access_token=user.access_token) as project:
        yield project


async def _create(app: Project, content: bytes) -> tuple[UUID, str]:
    created = await ClientRpc(app.rpc).create_smelt(files=[FileSpec("talk.mp3", len(content))])
    path = created.files[0].upload_path
    assert path is not None
    return created.id, path


async def _stored(app: Project, path: str, folder: Path) -> bytes:
    await app.audio.download(path, folder / "copy")
    return (folder / "copy").read_bytes()


async def _interrupt(app: Project, path: str, recording: Path, at_bytes: int = 8 * MIB) -> None:
    """Upload until so many bytes were sent."""

    async def stop(sent_bytes: int) -> None:
        if sent_bytes >= at_bytes:
            raise Interrupted

    with pytest.raises(Interrupted):
        await app.audio.upload(path, recording, on_sent=stop)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """A file of three pieces."""
    path, content = tmp_path / "talk.mp3", os.urandom(2 * PIECE_BYTES + MIB)
    path.write_bytes(content)
    return Recording(path, content)


async def test_resumable_upload_of_20_mib_continues_after_a_cut(
    app: Project, proxy: CountingProxy, cache: Cache, tmp_path: Path
) -> None:
    """The progress goes back to the bytes that have arrived, and not to the start."""
    content = os.urandom(20 * MIB)
    (tmp_path / "talk.mp3").write_bytes(content)
    _, path = await _create(app, content)
    sent: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        sent.append(sent_bytes)

    async def cut() -> None:
        proxy.cut()

    proxy.faults = [(8 * MIB, cut)]
    await app.audio.upload(path, tmp_path / "talk.mp3", on_sent=on_sent)
    assert not proxy.faults
    resumed_at = [after for before, after in pairwise(sent) if after <= before]
    assert resumed_at
    assert min(resumed_at) >= PIECE_BYTES
    assert sent[-1] == len(content)
    assert proxy.requests[ENDPOINT] == 1
    assert await _stored(app, path, tmp_path) == content
    assert not cache.ids()


async def test_resumable_upload_continues_in_a_later_call(
    app: Project, proxy: CountingProxy, stack: Stack, user: User, recording: Recording, cache: Cache, tmp_path: Path
) -> None:
    """Also from another process, and with the content in memory."""
    content = recording.content
    _, path = await _create(app, content)
    await _interrupt(app, path, recording.path)
    assert cache.modes() == [0o600]
    sent: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        sent.append(sent_bytes)

    async with Project(proxy.url, stack.anon_key, access_token=user.access_token) as later:
        await later.audio.upload(path, recording.path, on_sent=on_sent)
    assert sent[0] >= PIECE_BYTES
    assert proxy.requests[ENDPOINT] == 1
    assert await _stored(app, path, tmp_path) == content
    with pytest.raises(RequestRejected) as rejected:
        await app.audio.upload(path, recording.path)
    assert rejected.value.code == "Duplicate"


async def test_resumable_upload_of_other_content_starts_again(
    app: Project, proxy: CountingProxy, recording: Recording, tmp_path: Path
) -> None:
    """Two contents are never mixed, even if size and modification time are the same."""
    _, path = await _create(app, recording.content)
    await _interrupt(app, path, recording.path)
    other = recording.content[::-1]
    recording.overwrite(other)
    await app.audio.upload(path, recording.path)
    assert proxy.requests[ENDPOINT] == 2
    assert await _stored(app, path, tmp_path) == other


async def test_resumable_upload_that_is_gone_starts_again(
    app: Project, proxy: CountingProxy, recording: Recording, stack: Stack, user: User, cache: Cache, tmp_path: Path
) -> None:
    """As after 24 hours."""
    _, path = await _create(app, recording.content)
    await _interrupt(app, path, recording.path)
    url = f"{stack.api_url}{ENDPOINT}/{cache.ids()[0]}"
    headers = {"authorization": f"Bearer {user.access_token}", "tus-resumable": "1.0.0", "apikey": stack.anon_key}
    async with httpx.AsyncClient(headers=headers) as http:
        assert (await http.delete(url)).status_code == 204
    await app.audio.upload(path, recording.path)
    assert proxy.requests[ENDPOINT] == 2
    assert await _stored(app, path, tmp_path) == recording.content


@pytest.mark.parametrize("saved", ["x" * 20, "../../object/smelt-audio", "ä", ""])
async def test_saved_id_that_is_nonsense_is_ignored(
    app: Project, recording: Recording, cache: Cache, tmp_path: Path, saved: str
) -> None:
    _, path = await _create(app, recording.content)
    await _interrupt(app, path, recording.path)
    cache.replace(cache.file(), saved)
    await app.audio.upload(path, recording.path)
    assert await _stored(app, path, tmp_path) == recording.content


async def test_resumable_upload_whose_last_response_was_lost_is_complete(
    app: Project, proxy: CountingProxy, recording: Recording, cache: Cache
) -> None:
    """The server has all bytes and the object: the later call finds that and sends nothing."""
    _, path = await _create(app, recording.content)
    await _interrupt(app, path, recording.path)
    file, [saved] = cache.file(), cache.ids()
    await app.audio.upload(path, recording.path)
    cache.replace(file, saved)
    sent: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        sent.append(sent_bytes)

    await app.audio.upload(path, recording.path, on_sent=on_sent)
    assert set(sent) == {len(recording.content)}
    assert proxy.requests[ENDPOINT] == 1


async def test_resumable_upload_goes_on_after_another_request_has_stopped_it(
    app: Project, stack: Stack, user: User, recording: Recording, cache: Cache, tmp_path: Path
) -> None:
    """As a request of an interrupted call does that arrives late."""
    _, path = await _create(app, recording.content)
    late: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        if sent_bytes < 8 * MIB or late:
            return
        headers = {
            "authorization": f"Bearer {user.access_token}",
            "apikey": stack.anon_key,
            "tus-resumable": "1.0.0",
            "upload-offset": "0",
            "content-type": "application/offset+octet-stream",
        }
        [upload_id] = cache.ids()
        async with httpx.AsyncClient(headers=headers, timeout=30) as http:
            late.append((await http.patch(f"{stack.api_url}{ENDPOINT}/{upload_id}", content=b"late")).status_code)

    await app.audio.upload(path, recording.path, on_sent=on_sent)
    assert late == [409]
    assert await _stored(app, path, tmp_path) == recording.content


async def test_resumable_upload_of_a_cancelled_smelt_is_unauthorized(app: Project, recording: Recording) -> None:
    """The next piece after the cancellation is refused."""
    smelt_id, path = await _create(app, recording.content)

    async def cancel(sent_bytes: int) -> None:
        if sent_bytes == PIECE_BYTES:
            await ClientRpc(app.rpc).cancel_smelt(smelt_id)

    with pytest.raises(Unauthorized):
        await app.audio.upload(path, recording.path, on_sent=cancel)


async def test_resumable_upload_whose_token_has_expired_continues_after_a_new_sign_in(
    app: Project, proxy: CountingProxy, stack: Stack, user: User, recording: Recording, tmp_path: Path
) -> None:
    class ExpiringToken(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.headers.get("upload-offset", "0") != "0":
                request.headers["authorization"] = "Bearer expired"
            return await super().handle_async_request(request)

    _, path = await _create(app, recording.content)
    headers = {"authorization": f"Bearer {user.access_token}", "apikey": stack.anon_key}
    async with httpx.AsyncClient(transport=ExpiringToken(), headers=headers) as http:
        with pytest.raises(Unauthorized):
            await AudioStore(proxy.url, http).upload(path, recording.path)
    sent: list[int] = []

    async def on_sent(sent_bytes: int) -> None:
        sent.append(sent_bytes)

    await app.audio.upload(path, recording.path, on_sent=on_sent)
    assert sent[0] == PIECE_BYTES
    assert proxy.requests[ENDPOINT] == 1
    assert await _stored(app, path, tmp_path) == recording.content


async def test_upload_is_plain_if_the_server_has_no_resumable_uploads(
    app: Project, stack: Stack, user: User, recording: Recording, tmp_path: Path
) -> None:
    class OlderServer(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith(ENDPOINT):
                return httpx.Response(404, json={"message": "Route not found"}, request=request)
            return await super().handle_async_request(request)

    _, path = await _create(app, recording.content)
    headers = {"authorization": f"Bearer {user.access_token}", "apikey": stack.anon_key}
    async with httpx.AsyncClient(transport=OlderServer(), headers=headers) as http:
        await AudioStore(stack.api_url, http).upload(path, recording.path)
    assert await _stored(app, path, tmp_path) == recording.content


def test_saved_uploads_are_bounded_and_expire(tmp_path: Path) -> None:
    saved = SavedUploads(tmp_path)
    for number in range(MAX_SAVED_UPLOADS + 5):
        saved.save(f"f{number}", f"id{number}")
        os.utime(tmp_path / f"f{number}", (number, number + 10**10))
    assert len(list(tmp_path.iterdir())) == MAX_SAVED_UPLOADS
    assert saved.find("f0") is None
    assert saved.find(f"f{MAX_SAVED_UPLOADS + 4}") == f"id{MAX_SAVED_UPLOADS + 4}"
    os.utime(tmp_path / "f50", (0, 0))
    assert saved.find("f50") is None
    saved.save("new", "id")
    assert not (tmp_path / "f50").exists()
    saved.forget("new")
    saved.forget("new")
    assert saved.find("new") is None


def test_saved_uploads_in_a_folder_that_cannot_be_written_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    saved = SavedUploads(tmp_path / "file" / "uploads")
    saved.save("f", "id")
    assert saved.find("f") is None
    saved.forget("f")
