"""Projects for the tests, and cleanup of a shared one."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from smelt.local import LocalCluster
from tests.harness.own_cache import cached_for_user, own_cache
from tests.harness.patched_children import PatchedChildren
from tests.harness.stacks import (
    RemoteStack,
    Stack,
    cluster,
    end_cluster,
    running_local,
    running_project,
    shared_project,
)

TESTS = Path(__file__).parent
# The files that take longest, the longest first. Processes take files in this order, so that they end at about the
# same time; each of these would otherwise be among the last, since it contains few tests.
LONG_FILES = (
    "acceptance/test_shared_project.py",
    "acceptance/test_worker_online.py",
    "acceptance/test_js_faults.py",
    "acceptance/test_local_cli.py",
    "integration/processor/test_worker_stops.py",
    "integration/processor/test_worker_drain_and_resume.py",
    "integration/real_speech/test_real_recordings.py",
    "acceptance/test_submit_watch.py",
    "integration/speech/test_transcribe_meetings.py",
    "acceptance/test_supabase_js.py",
    "acceptance/test_operator_commands.py",
    "acceptance/test_readme_javascript.py",
    "chaos/test_chaos.py",
    "chaos/test_poison_alone.py",
    "acceptance/test_elements.py",
    "integration/processor/test_worker_model.py",
)

# Examples are as many on a loaded machine, only slower.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# A background job of a script ignores SIGINT, and its children inherit that; some tests send SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def end_cluster_after_session() -> Iterator[None]:
    """End the database server of this process, on which all stacks are cloned, after its tests."""
    yield
    end_cluster()


@pytest.fixture(scope="session", autouse=True)
def unchanged_cache() -> Iterator[None]:
    """Fail if something has appeared in the cache of the user during the tests."""
    before = cached_for_user()
    yield
    assert cached_for_user() <= before, "a test, or another program meanwhile, has written to the cache of the user"


@pytest.fixture(scope="session")
def local_cluster() -> LocalCluster:
    """The database server of this process, for tests that clone stacks of other projects."""
    return cluster()


@pytest.fixture(scope="session")
def session_stack() -> Iterator[Stack]:
    """The project of `stack`."""
    with running_project() as project:
        yield project


@pytest.fixture(scope="module")
def stack(session_stack: Stack) -> Stack:
    """A project shared by tests that do not disturb each other: each has its own users and smelts, and no worker."""
    if shared_project() is None:
        with psycopg.connect(session_stack.db_url, autocommit=True) as database:
            # Those that another file left would count for the visitors of this one.
            database.execute("delete from public.smelts where user_id is null and completed_at is null")
    return session_stack


@pytest.fixture
def fresh_stack() -> Iterator[Stack]:
    """A project for one test alone; mark that test `own_project`."""
    with running_local() as project:
        yield project


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Remove from a shared project the rows and objects that a test creates, also when it fails."""
    project = shared_project()
    with project.restored() if project else nullcontext():
        yield


@pytest.fixture
def children(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> PatchedChildren:
    """Return the children that workers of this process start in this test, to be patched."""
    return PatchedChildren(tmp_path_factory.mktemp("children"), monkeypatch)


@pytest.fixture(scope="session")
def real_speech() -> Path:
    """The folder of recordings of real speech that `SMELT_REAL_SPEECH` names; mark the test `real_speech`."""
    return _folder("SMELT_REAL_SPEECH", "recordings of real speech (see tests/README.md)")


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The folder of a real multilingual model that `SMELT_REAL_MODEL` names; mark the test `real_speech`."""
    return _folder("SMELT_REAL_MODEL", "a Whisper model: `scripts/real-model FOLDER` makes one")


@pytest.fixture(scope="session")
def real_speaker_model() -> Path:
    """The file of a real model of voices that `SMELT_REAL_SPEAKER_MODEL` names; mark the test `real_speech`."""
    named = os.environ.get("SMELT_REAL_SPEAKER_MODEL")
    if not named:
        pytest.skip("set SMELT_REAL_SPEAKER_MODEL to a model of voices: `scripts/speaker-model FILE` makes one")
    return Path(named)


def _folder(variable: str, content: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"set {variable} to a folder with {content}")
    folder = Path(named)
    assert folder.is_dir(), f"{variable}={named} is not a folder"
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Give the tests a cache; reject several processes in one project: they would claim each other's smelts."""
    if "SUPABASE_URL" in os.environ and config.getoption("numprocesses", None):
        raise pytest.UsageError("tests run one at a time in the project of SUPABASE_URL: use -n 0")
    if not hasattr(config, "workerinput"):  # A process of pytest-xdist inherits the cache of the first one.
        end = ExitStack()
        end.enter_context(own_cache())
        config.add_cleanup(end.close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests of `LONG_FILES` to the front."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONG_FILES)}
    if missing := [path for path in ranks if not path.exists()]:
        raise pytest.UsageError(f"LONG_FILES names files that do not exist: {missing}")
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a separate project if the environment names a shared one."""
    marker = item.get_closest_marker("own_project")
    if marker is not None and RemoteStack.from_env() is not None:
        pytest.skip(f"needs a separate project, {marker.args[0]}: unset SUPABASE_URL to run it")
