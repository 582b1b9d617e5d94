"""Other users may have access to a stack's folders: files that they plant are rejected and never read."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from smelt.local import LocalPermanentError, state
from smelt.local.account import OsAccount, database_account
from smelt.local.client import supervisor_client
from smelt.local.database.postgres import ACCESS, Postgres, PostgresOptions, check_data_version, clear_stale_postmaster
from smelt.local.database.template import Templates
from smelt.local.paths import StackPaths, cache_folder, temporary_folder
from smelt.local.processes import lock
from smelt.local.processes.child import Child
from smelt.local.processes.logs import LogTail
from smelt.local.project import ProjectFiles
from smelt.local.state import StackState
from smelt.local.supervisor import cleanup
from tests.harness.impostors import assert_untouched, each_impostor, needs_root

Plant = Callable[[Path], None]

REJECTED = r"^\S+ (is not a regular file|belongs to another user); remove it, or choose another folder$"
STATE = StackState(pid=1, project="p", api_url="http://127.0.0.1:1", db_url="postgresql://", admin_dsn="host=/")


@pytest.fixture
def paths(tmp_path: Path) -> StackPaths:
    return StackPaths(tmp_path / "stack").make()


@each_impostor
def test_lock_rejects_impostors(paths: StackPaths, plant: Plant) -> None:
    plant(paths.lock)
    with pytest.raises(LocalPermanentError, match=REJECTED), lock.hold(paths.lock):
        pass
    with pytest.raises(LocalPermanentError, match=REJECTED):
        lock.holder(paths.lock)
    assert_untouched(paths.lock)


@each_impostor
def test_state_rejects_impostors(paths: StackPaths, plant: Plant) -> None:
    """Both the state file and the temporary file for a new state are checked."""
    plant(paths.state.with_suffix(".new"))
    with pytest.raises(LocalPermanentError, match=REJECTED):
        state.write(paths, STATE)
    assert_untouched(paths.state.with_suffix(".new"))
    with lock.hold(paths.lock):
        plant(paths.state)
        if paths.state.exists():
            with pytest.raises(LocalPermanentError, match=REJECTED):
                state.read(paths)


@each_impostor
async def test_logs_reject_impostors(paths: StackPaths, plant: Plant) -> None:
    """No program is started that would write into one."""
    log = paths.log("postgres")
    plant(log)
    if log.exists():
        with pytest.raises(LocalPermanentError, match=REJECTED):
            LogTail(log).text()
    with pytest.raises(LocalPermanentError, match=REJECTED):
        await Child.spawn(["true"], log=log, death_signal=signal.SIGKILL)
    assert_untouched(log)
    paths.make()


@each_impostor
async def test_log_of_the_supervisor_rejects_impostors(paths: StackPaths, plant: Plant) -> None:
    log = paths.log("supervisor")
    plant(log)
    with pytest.raises(LocalPermanentError, match=REJECTED):
        await supervisor_client.start(supervisor_client.LaunchOptions(folder=paths.folder, project=None))
    assert_untouched(log)


@each_impostor
def test_sweep_leaves_impostors_alone(tmp_path: Path, plant: Plant) -> None:
    """The sweep does not block on a lock that is a pipe, and does not consider the folder abandoned."""
    planted, left = tmp_path / "smelt-x", tmp_path / "smelt-left"
    for folder in (planted, left):
        folder.mkdir()
        (folder / cleanup.MARKER).touch()
    plant(planted / "lock")
    (left / "lock").touch()
    cleanup.sweep(tmp_path)
    assert planted.exists()
    assert not left.exists()


@needs_root
def test_sweep_leaves_a_folder_of_another_user_alone(tmp_path: Path) -> None:
    planted = tmp_path / "smelt-x"
    planted.mkdir()
    for name in ("lock", cleanup.MARKER):
        (planted / name).touch()
    os.chown(planted, 1, -1)
    cleanup.sweep(tmp_path)
    assert planted.exists()


@pytest.fixture
def data(paths: StackPaths) -> Path:
    """A data folder that belongs to the user of Postgres."""
    return database_account().make_private_folder(paths.data)


@each_impostor
async def test_leftover_lock_of_postgres_rejects_impostors(data: Path, plant: Plant) -> None:
    """Root neither reads nor writes through files that the unprivileged user may have planted."""
    plant(data / "postmaster.pid")
    with pytest.raises(LocalPermanentError, match=REJECTED):
        await clear_stale_postmaster(data, database_account())
    assert_untouched(data / "postmaster.pid")


async def test_leftover_lock_of_postgres_names_its_parent_afterwards(data: Path) -> None:
    """The other lines and the owner of the file stay."""
    account, path = database_account(), data / "postmaster.pid"
    await clear_stale_postmaster(data, account)
    assert not path.exists()
    path.write_text("1234567\n/nowhere\n5432\n")
    account.make_owner_of(data)
    await clear_stale_postmaster(data, account)
    assert path.read_text() == f"{os.getpid()}\n/nowhere\n5432\n"
    assert path.stat().st_uid == account.uid


@each_impostor
def test_version_of_postgres_rejects_impostors(data: Path, plant: Plant) -> None:
    """The error must not reveal the target of a link."""
    plant(data / "PG_VERSION")
    if (data / "PG_VERSION").exists():
        with pytest.raises(LocalPermanentError, match=REJECTED):
            check_data_version(data, database_account())


@each_impostor
def test_access_rules_of_postgres_are_written_into_no_impostor(paths: StackPaths, data: Path, plant: Plant) -> None:
    options = PostgresOptions(
        data=data, sockets=paths.sockets, port=1, log=paths.log("postgres"), account=database_account()
    )
    plant(data / "pg_hba.conf")
    with pytest.raises(LocalPermanentError, match=REJECTED):
        Postgres(options).write_access_rules()
    assert_untouched(data / "pg_hba.conf")
    (data / "pg_hba.conf").unlink()
    (data / "pg_hba.conf").write_text("as initdb makes it, and longer than what replaces it" * 10)
    database_account().make_owner_of(data)
    Postgres(options).write_access_rules()
    assert (data / "pg_hba.conf").read_text() == ACCESS


def foreign_folder(path: Path) -> None:
    path.mkdir()
    os.chown(path, 1, -1)


def writable_folder(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def linked_folder(path: Path) -> None:
    path.with_name("target").mkdir(mode=0o755)
    path.symlink_to(path.with_name("target"))


def named_pipe(path: Path) -> None:
    os.mkfifo(path)


with_each_unsafe_folder = pytest.mark.parametrize(
    "plant",
    [pytest.param(foreign_folder, marks=needs_root), writable_folder, linked_folder, named_pipe],
)


@with_each_unsafe_folder
@pytest.mark.parametrize("name", ["logs", "storage"])
def test_private_folders_of_a_stack_reject_impostors(tmp_path: Path, plant: Plant, name: str) -> None:
    (tmp_path / "stack").mkdir()
    plant(tmp_path / "stack" / name)
    with pytest.raises(LocalPermanentError, match=rf"^{tmp_path}/stack/{name} .*; choose another folder$"):
        StackPaths(tmp_path / "stack").make()


@needs_root
def test_folder_of_another_user_is_rejected_for_a_stack(tmp_path: Path) -> None:
    foreign_folder(tmp_path / "stack")
    with pytest.raises(LocalPermanentError, match=rf"^{tmp_path}/stack belongs to another user"):
        StackPaths(tmp_path / "stack").make()


@pytest.fixture
def without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a user without a writable home."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"smelt-cache-{os.geteuid()}"


def test_cache_folder_without_a_home_is_private(without_home: Path) -> None:
    """A second call also works, and a readable folder from an earlier version is made private."""
    for _ in range(2):
        assert cache_folder() == without_home
        assert without_home.stat().st_mode & 0o777 == 0o700
        without_home.chmod(0o755)


@with_each_unsafe_folder
def test_cache_folder_rejects_impostors(without_home: Path, plant: Plant) -> None:
    """Programs in this folder are executed."""
    plant(without_home)
    with pytest.raises(LocalPermanentError, match=rf"^{without_home} "):
        cache_folder()


@needs_root
def test_cache_folder_is_not_in_the_home_of_another_user(without_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = without_home.parent / "home"
    foreign_folder(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    foreign_folder(home / "smelt")
    assert cache_folder() == without_home


@needs_root
def test_ownership_is_not_given_through_links(tmp_path: Path) -> None:
    """The owner of link targets and of files in linked folders does not change."""
    given, outside = tmp_path / "given", tmp_path / "outside"
    for folder in (given, outside):
        folder.mkdir()
    (outside / "file").touch()
    (given / "folder").symlink_to(outside)
    (given / "file").symlink_to(outside / "file")
    OsAccount(1, 1, "daemon").make_owner_of(given)
    assert {path.lstat().st_uid for path in (given, given / "folder", given / "file")} == {1}
    assert {path.lstat().st_uid for path in (outside, outside / "file")} == {0}


@needs_root
def test_sockets_are_where_the_account_reaches_them(tmp_path: Path) -> None:
    """In the folder of an ephemeral stack, or in the temporary folder if the account cannot access the stack's."""
    folder = temporary_folder()
    try:
        assert StackPaths(folder).sockets == folder / "sockets"
    finally:
        folder.rmdir()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert StackPaths(closed).sockets.parent == Path(tempfile.gettempdir())


@needs_root
async def test_template_belongs_to_root_and_its_copy_to_the_account(tmp_path: Path) -> None:
    """A project's SQL can run programs as the account, which must not be able to change templates."""
    account = database_account()
    await Templates(folder=tmp_path / "templates", account=account).copy(ProjectFiles(), tmp_path / "data")
    [template] = (path for path in (tmp_path / "templates").iterdir() if path.is_dir())
    assert {path.lstat().st_uid for path in (template, *template.rglob("*"))} == {0}
    assert {path.lstat().st_uid for path in (tmp_path / "data", *(tmp_path / "data").rglob("*"))} == {account.uid}


def test_access_to_a_path_needs_the_folders_around_its_links() -> None:
    other = OsAccount(65_534, 65_534, "other")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        public, private = Path(name), Path(name) / "private"
        public.chmod(0o755)
        private.mkdir(mode=0o700)
        for folder in (public, private):
            (folder / "program").touch()
            (folder / "program").chmod(0o755)
        (public / "link").symlink_to(private / "program")
        (private / "link").symlink_to(public / "program")
        assert other.can_access([public / "program"])
        assert not other.can_access([public / "link"])
        assert not other.can_access([private / "link"])
