"""A stack's folders may be reached by other users: what they put there is refused, and nothing is read through it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from impostors import assert_untouched, each_impostor, needs_root

from smelt.local import LocalPermanentError, cleanup, lock, state
from smelt.local.account import OsAccount, database_account
from smelt.local.logs import LogTail
from smelt.local.migrations import ProjectFiles
from smelt.local.paths import StackPaths, cache_folder, temporary_folder
from smelt.local.postgres import ACCESS, Postgres, PostgresOptions, check_data_version, clear_stale_postmaster
from smelt.local.state import StackState
from smelt.local.template import Templates

Plant = Callable[[Path], None]

REFUSED = r"^\S+ (is not a regular file|belongs to another user); remove it, or choose another folder$"
STATE = StackState(pid=1, project="p", api_url="http://127.0.0.1:1", db_url="postgresql://", admin_dsn="host=/")


@pytest.fixture
def places(tmp_path: Path) -> StackPaths:
    return StackPaths(tmp_path / "stack").make()


@each_impostor
def test_lock_refuses_impostors(places: StackPaths, plant: Plant) -> None:
    plant(places.lock)
    with pytest.raises(LocalPermanentError, match=REFUSED), lock.hold(places.lock):
        pass
    with pytest.raises(LocalPermanentError, match=REFUSED):
        lock.holder(places.lock)
    assert_untouched(places.lock)


@each_impostor
def test_state_refuses_impostors(places: StackPaths, plant: Plant) -> None:
    """Where it is read, and where the new one is written before it takes its place."""
    plant(places.state.with_suffix(".new"))
    with pytest.raises(LocalPermanentError, match=REFUSED):
        state.write(places, STATE)
    assert_untouched(places.state.with_suffix(".new"))
    with lock.hold(places.lock):
        plant(places.state)
        if places.state.exists():
            with pytest.raises(LocalPermanentError, match=REFUSED):
                state.read(places)


@each_impostor
def test_logs_refuse_impostors(places: StackPaths, plant: Plant) -> None:
    log = places.log("postgres")
    plant(log)
    if log.exists():
        with pytest.raises(LocalPermanentError, match=REFUSED):
            LogTail(log).text()
    places.make()


@each_impostor
def test_sweep_leaves_impostors_alone(tmp_path: Path, plant: Plant) -> None:
    """It neither waits for a lock that is a pipe nor takes the folder for one of a killed supervisor."""
    planted, left = tmp_path / "smelt-x", tmp_path / "smelt-left"
    for folder in (planted, left):
        folder.mkdir()
        (folder / cleanup.MARK).touch()
    plant(planted / "lock")
    (left / "lock").touch()
    cleanup.sweep(tmp_path)
    assert planted.exists()
    assert not left.exists()


@needs_root
def test_sweep_leaves_a_folder_of_another_user_alone(tmp_path: Path) -> None:
    planted = tmp_path / "smelt-x"
    planted.mkdir()
    for name in ("lock", cleanup.MARK):
        (planted / name).touch()
    os.chown(planted, 1, -1)
    cleanup.sweep(tmp_path)
    assert planted.exists()


@pytest.fixture
def data(places: StackPaths) -> Path:
    """A data folder of the user that Postgres runs as."""
    return database_account().make_private_folder(places.data)


@each_impostor
async def test_leftover_lock_of_postgres_refuses_impostors(data: Path, plant: Plant) -> None:
    """Root neither reads nor writes through what the unprivileged user may have put there."""
    plant(data / "postmaster.pid")
    with pytest.raises(LocalPermanentError, match=REFUSED):
        await clear_stale_postmaster(data, database_account())
    assert_untouched(data / "postmaster.pid")


async def test_leftover_lock_of_postgres_names_its_parent_afterwards(data: Path) -> None:
    """The rest of it stays, and its owner, too."""
    account, path = database_account(), data / "postmaster.pid"
    await clear_stale_postmaster(data, account)
    assert not path.exists()
    path.write_text("1234567\n/nowhere\n5432\n")
    account.give(data)
    await clear_stale_postmaster(data, account)
    assert path.read_text() == f"{os.getpid()}\n/nowhere\n5432\n"
    assert path.stat().st_uid == account.uid


@each_impostor
def test_version_of_postgres_refuses_impostors(data: Path, plant: Plant) -> None:
    """A link in its place would show its target in an error."""
    plant(data / "PG_VERSION")
    if (data / "PG_VERSION").exists():
        with pytest.raises(LocalPermanentError, match=REFUSED):
            check_data_version(data, database_account())


@each_impostor
def test_access_rules_of_postgres_are_written_into_no_impostor(places: StackPaths, data: Path, plant: Plant) -> None:
    options = PostgresOptions(
        data=data, sockets=places.sockets, port=1, log=places.log("postgres"), account=database_account()
    )
    plant(data / "pg_hba.conf")
    with pytest.raises(LocalPermanentError, match=REFUSED):
        Postgres(options).write_access_rules()
    assert_untouched(data / "pg_hba.conf")
    (data / "pg_hba.conf").unlink()
    (data / "pg_hba.conf").write_text("as initdb makes it, and longer than what replaces it" * 10)
    database_account().give(data)
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


each_unfit_folder = pytest.mark.parametrize(
    "plant",
    [pytest.param(foreign_folder, marks=needs_root), writable_folder, linked_folder, named_pipe],
)


@each_unfit_folder
@pytest.mark.parametrize("name", ["logs", "storage"])
def test_private_folders_of_a_stack_refuse_impostors(tmp_path: Path, plant: Plant, name: str) -> None:
    (tmp_path / "stack").mkdir()
    plant(tmp_path / "stack" / name)
    with pytest.raises(LocalPermanentError, match=rf"^{tmp_path}/stack/{name} .*; choose another folder$"):
        StackPaths(tmp_path / "stack").make()


@needs_root
def test_folder_of_another_user_is_refused_for_a_stack(tmp_path: Path) -> None:
    foreign_folder(tmp_path / "stack")
    with pytest.raises(LocalPermanentError, match=rf"^{tmp_path}/stack belongs to another user"):
        StackPaths(tmp_path / "stack").make()


@pytest.fixture
def without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a user whose home can't be written to."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"smelt-cache-{os.geteuid()}"


def test_cache_folder_without_a_home_is_private(without_home: Path) -> None:
    """A second time too, and one that an earlier version made readable is closed."""
    for _ in range(2):
        assert cache_folder() == without_home
        assert without_home.stat().st_mode & 0o777 == 0o700
        without_home.chmod(0o755)


@each_unfit_folder
def test_cache_folder_refuses_impostors(without_home: Path, plant: Plant) -> None:
    """Programs are run from there."""
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
    """Neither of what a link leads to, nor of what lies in a linked folder."""
    given, outside = tmp_path / "given", tmp_path / "outside"
    for folder in (given, outside):
        folder.mkdir()
    (outside / "file").touch()
    (given / "folder").symlink_to(outside)
    (given / "file").symlink_to(outside / "file")
    OsAccount(1, 1, "daemon").give(given)
    assert {path.lstat().st_uid for path in (given, given / "folder", given / "file")} == {1}
    assert {path.lstat().st_uid for path in (outside, outside / "file")} == {0}


@needs_root
def test_sockets_are_where_the_account_reaches_them(tmp_path: Path) -> None:
    """Beside the data of a stack that is thrown away, and among the temporary files where the folder is closed."""
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
    """The account, as which a project's SQL may run programs, can't change what other stacks are copied from."""
    account = database_account()
    await Templates(folder=tmp_path / "templates", account=account).copy(ProjectFiles(), tmp_path / "data")
    [template] = (path for path in (tmp_path / "templates").iterdir() if path.is_dir())
    assert {path.lstat().st_uid for path in (template, *template.rglob("*"))} == {0}
    assert {path.lstat().st_uid for path in (tmp_path / "data", *(tmp_path / "data").rglob("*"))} == {account.uid}
