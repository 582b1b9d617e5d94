"""Data is purged after its retention by one worker at a time, through Storage: bytes, objects, rows."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.channels import AUDIO_BUCKET
from smelt.contract.state import Created
from smelt.errors import NotFound, RequestRejected
from smelt.local import LocalStack
from tests.harness.stacks import POSTGREST, running
from tests.harness.waiting import until
from tests.harness.worker_harness import RECORDINGS, AppClient, app_client, run_worker_once, running_worker

GREETING = RECORDINGS / "greeting.ogg"


class InspectableStack(LocalStack):
    """A project whose disk can be inspected."""

    root: Path

    def bytes_of(self, file: Path = GREETING) -> int:
        """Return how many copies of a recording are on the disk of Storage."""
        return sum(found.read_bytes() == file.read_bytes() for found in self.root.rglob("*") if found.is_file())

    def change(self, sql: str, *values: object) -> None:
        """Change rows as the owner of the database, to simulate that time has passed."""
        with psycopg.connect(self.db_url, autocommit=True) as owner:
            owner.execute(sql.encode(), values)

    def count(self, sql: str, *values: object) -> int:
        """Return the one number of a query."""
        with psycopg.connect(self.db_url, autocommit=True) as owner:
            [(found,)] = owner.execute(sql.encode(), values).fetchall()
        assert isinstance(found, int)
        return found


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectableStack]:
    """Run a project for these tests alone."""
    folder = tmp_path_factory.mktemp("project")
    stack = InspectableStack(folder, postgrest=POSTGREST)
    stack.root = folder / "storage"
    with running(stack):
        yield stack


@pytest.fixture(autouse=True)
def clean(own_stack: InspectableStack) -> Iterator[None]:
    """Assert that every test purges all of its objects."""
    yield
    assert own_stack.bytes_of() == 0
    assert own_stack.count("select count(*) from storage.objects") == 0


async def submitted(app: AppClient, *files: Path) -> Created:
    created = await app.create(*files)
    await app.calls.submit_smelt(created.id)
    return created


def path_of(created: Created) -> str:
    path = created.files[0].upload_path
    assert path is not None
    return path


async def test_purge_removes_audio_when_the_smelt_completes(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app:
        created = await submitted(app, GREETING)
        assert own_stack.bytes_of() == 1
        # While a worker runs, not only on its exit.
        async with running_worker(own_stack, tmp_path):
            assert (await app.ended(created.id)).status == "completed"
            await until(lambda: own_stack.bytes_of() == 0)
            await until(lambda: own_stack.count("select count(*) from smelts where audio_state = 'removed'") == 1)
        assert (await app.state(created.id)).results


async def test_purge_removes_audio_of_a_failed_smelt_after_a_day(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app:
        created = await submitted(app, GREETING)
        await app.calls.cancel_smelt(created.id)
        await run_worker_once(own_stack, tmp_path)
        assert own_stack.bytes_of() == 1
        own_stack.change("update smelts set completed_at = completed_at - interval '23 h' where id = %s", created.id)
        await run_worker_once(own_stack, tmp_path)
        assert own_stack.bytes_of() == 1
        # Owned, so that its row outlives its audio.
        own_stack.change(
            "update smelts set is_anonymous = false, completed_at = completed_at - interval '1 h' where id = %s",
            created.id,
        )
        await run_worker_once(own_stack, tmp_path)
        assert (await app.state(created.id)).status == "failed"
        with pytest.raises(RequestRejected) as rejected:
            await app.calls.retry_smelt(created.id)
        assert rejected.value.code == "audio_expired"


async def test_purge_removes_anonymous_results_after_a_day(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app:
        recording = await submitted(app, GREETING)
        text = await app.create(text_input="Anna will call Ben.")
        await run_worker_once(own_stack, tmp_path)
        own_stack.change("update smelts set completed_at = completed_at - interval '25 h'")
        await run_worker_once(own_stack, tmp_path)
        for created in (recording, text):
            with pytest.raises(NotFound):
                await app.calls.get_smelt(created.id)
    assert own_stack.count("select count(*) from smelt_results") == 0


async def test_purge_continues_past_one_page_of_expired_smelts(
    own_stack: InspectableStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_client(own_stack) as app:
        for _ in range(3):
            await app.calls.cancel_smelt((await app.create(text_input="Anna will call Ben.")).id)
    own_stack.change("update smelts set completed_at = completed_at - interval '25 h'")
    listing = WorkerRpc.list_expired
    monkeypatch.setattr(WorkerRpc, "list_expired", lambda calls, worker_id: listing(calls, worker_id, max_count=1))
    await run_worker_once(own_stack, tmp_path)
    assert own_stack.count("select count(*) from smelts where is_anonymous and status = 'failed'") == 0


@contextmanager
def referencing(own_stack: InspectableStack, table: str, row_id: object) -> Iterator[None]:
    """Create a row in a table of the app, with a foreign key without an `on delete` action."""
    own_stack.change(f"create table app (row_id uuid references {table} (id))")
    own_stack.change("insert into app values (%s)", row_id)
    try:
        yield
    finally:
        own_stack.change("drop table app")


async def test_purge_goes_on_past_a_smelt_that_a_row_of_the_app_references(
    own_stack: InspectableStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with app_client(own_stack) as app:
        smelts = [await app.create(text_input=text) for text in ("One", "Two", "Three")]
        for created in smelts:
            await app.calls.cancel_smelt(created.id)
        own_stack.change("update smelts set completed_at = completed_at - interval '25 h'")
        with referencing(own_stack, "smelts", smelts[0].id):
            await run_worker_once(own_stack, tmp_path)
            assert (await app.state(smelts[0].id)).status == "failed"
            for created in smelts[1:]:
                with pytest.raises(NotFound):
                    await app.calls.get_smelt(created.id)
            with pytest.raises(RequestRejected, match="on delete set null") as rejected:
                await app.calls.delete_smelt(smelts[0].id)
            assert rejected.value.code == "still_referenced"
    (warning,) = [line for line in caplog.messages if "could not be purged" in line]
    assert str(smelts[0].id) in warning
    assert "app_row_id_fkey" in warning
    own_stack.change("update smelt.purge_failures set retry_at = now()")
    await run_worker_once(own_stack, tmp_path)
    assert own_stack.count("select count(*) from smelts where id = %s", smelts[0].id) == 0


async def test_purge_goes_on_past_an_object_that_a_row_of_the_app_references(
    own_stack: InspectableStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with app_client(own_stack) as app:
        stuck, free = [await submitted(app, GREETING) for _ in range(2)]
        for created in (stuck, free):
            await app.calls.cancel_smelt(created.id)
        own_stack.change("update smelts set completed_at = completed_at - interval '25 h'")
        with psycopg.connect(own_stack.db_url) as owner:
            query = "select id from storage.objects where name = %s"
            [(object_id,)] = owner.execute(query, (path_of(stuck),)).fetchall()
        with referencing(own_stack, "storage.objects", object_id):
            await run_worker_once(own_stack, tmp_path)
            with pytest.raises(NotFound):
                await app.calls.get_smelt(free.id)
            assert own_stack.bytes_of() == 1
        assert any(path_of(stuck) in line for line in caplog.messages if "could not be removed" in line)
        own_stack.change("update smelt.purge_failures set retry_at = now()")
        await run_worker_once(own_stack, tmp_path)
        assert own_stack.count("select count(*) from smelts where id = %s", stuck.id) == 0


async def test_purge_removes_an_unsubmitted_smelt_after_a_day(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app:
        created = await app.create(GREETING)
        await run_worker_once(own_stack, tmp_path)
        assert own_stack.bytes_of() == 1
        own_stack.change("update smelts set created_at = created_at - interval '25 h' where id = %s", created.id)
        await run_worker_once(own_stack, tmp_path)
        with pytest.raises(NotFound):
            await app.calls.get_smelt(created.id)


async def test_purge_removes_unannounced_objects_only(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app:
        created, without_file, deleted = [await app.create(GREETING) for _ in range(3)]
        own_stack.change("delete from smelt_files where smelt_id = %s", without_file.id)
        own_stack.change("delete from smelts where id = %s", deleted.id)
        assert own_stack.bytes_of() == 3
        await run_worker_once(own_stack, tmp_path)
        assert own_stack.bytes_of() == 1
        await app.calls.submit_smelt(created.id)
        await run_worker_once(own_stack, tmp_path)
        assert (await app.state(created.id)).status == "completed"


@asynccontextmanager
async def uploading(own_stack: InspectableStack, path: str) -> AsyncIterator[None]:
    """Start an upload while it is allowed; the block ends with its last bytes, when it no longer is."""
    begun, ending = asyncio.Event(), asyncio.Event()
    content = GREETING.read_bytes()

    async def pieces() -> AsyncIterator[bytes]:
        yield content[:100]
        begun.set()
        await ending.wait()
        yield content[100:]

    async with httpx.AsyncClient(headers={"apikey": own_stack.anon_key}, timeout=30) as http:
        url = f"{own_stack.api_url}/storage/v1/object/{AUDIO_BUCKET}/{path}"
        headers = {"Content-Type": "audio/ogg", "Content-Length": str(len(content))}
        sending = asyncio.create_task(http.post(url, content=pieces(), headers=headers))
        try:
            await begun.wait()
            # Storage accepts bytes only after it has authorized the upload.
            await until(lambda: any((own_stack.root / ".incoming").iterdir()))
            yield
        finally:
            ending.set()
            response = await sending
        assert response.json()["statusCode"] == "403", response.text


async def test_upload_that_arrives_after_delete_stores_nothing(own_stack: InspectableStack) -> None:
    async with app_client(own_stack) as app:
        created = await app.create_without_upload(GREETING)
        async with uploading(own_stack, path_of(created)):
            await app.calls.delete_smelt(created.id)
    assert own_stack.bytes_of() == 0


async def test_signed_upload_after_the_purge_stores_nothing(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app:
        created = await app.create_without_upload(GREETING)
        storage = f"{own_stack.api_url}/storage/v1"
        async with httpx.AsyncClient(headers={"apikey": own_stack.anon_key}, timeout=30) as http:
            signed = await http.post(f"{storage}/object/upload/sign/{AUDIO_BUCKET}/{path_of(created)}")
            await app.project.audio.upload(path_of(created), GREETING)
            await app.calls.submit_smelt(created.id)
            await run_worker_once(own_stack, tmp_path)
            assert own_stack.bytes_of() == 0
            late = await http.put(f"{storage}{signed.json()['url']}", content=GREETING.read_bytes())
            assert late.json()["statusCode"] == "403", late.text
        assert own_stack.bytes_of() == 0
        assert (await app.state(created.id)).status == "completed"


async def test_signed_download_url_of_a_deleted_smelt_ends_with_the_purge(
    own_stack: InspectableStack, tmp_path: Path
) -> None:
    async with app_client(own_stack) as app:
        created = await submitted(app, GREETING)
        storage = f"{own_stack.api_url}/storage/v1"
        async with httpx.AsyncClient(headers={"apikey": own_stack.service_role_key}, timeout=30) as http:
            sign = f"{storage}/object/sign/{AUDIO_BUCKET}/{path_of(created)}"
            url = f"{storage}{(await http.post(sign, json={'expiresIn': 3600})).json()['signedURL']}"
            assert (await http.get(url)).content == GREETING.read_bytes()
            await app.calls.delete_smelt(created.id)
            await run_worker_once(own_stack, tmp_path)
            ended = await http.get(url)
            assert (ended.status_code, ended.json()["statusCode"]) == (400, "404")


async def test_purge_removes_worker_rows_on_exit_or_a_week_after_death(
    own_stack: InspectableStack, tmp_path: Path
) -> None:
    async with Project(own_stack.api_url, own_stack.service_role_key) as owner:
        calls = WorkerRpc(owner.rpc)
        await calls.heartbeat_worker("dead-for-long", {})
        await calls.heartbeat_worker("just-died", {})
    own_stack.change("update smelt.workers set seen_at = now() - interval '8 days' where worker_id = 'dead-for-long'")
    await run_worker_once(own_stack, tmp_path)
    assert own_stack.count("select count(*) from smelt.workers where worker_id = 'just-died'") == 1
    assert own_stack.count("select count(*) from smelt.workers") == 1


async def test_purge_runs_in_one_worker_until_its_lease_expires(own_stack: InspectableStack, tmp_path: Path) -> None:
    async with app_client(own_stack) as app, Project(own_stack.api_url, own_stack.service_role_key) as owner:
        stray = await app.create(GREETING)
        own_stack.change("delete from smelts where id = %s", stray.id)
        listed = await WorkerRpc(owner.rpc).list_expired("another")
        assert len(listed.objects) == 1
        await run_worker_once(own_stack, tmp_path)
        assert own_stack.bytes_of() == 1
        own_stack.change("update smelt.janitor set leased_until = now() - interval '1 s'")
        await run_worker_once(own_stack, tmp_path)
    assert own_stack.count("select count(*) from smelt.janitor where worker_id is null") == 1
