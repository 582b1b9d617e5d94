"""Projects for the tests, and cleanup of a shared one."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from patched_children import PatchedChildren
from stacks import RemoteStack, Stack, cluster, end_cluster, running_local, running_project, shared_project

from smelt.local import LocalCluster

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


@pytest.fixture(scope="session")
def local_cluster() -> LocalCluster:
    """The database server of this process, for tests that clone stacks of other projects."""
    return cluster()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A project shared by tests that do not disturb each other: each has its own users and smelts, and no worker."""
    with running_project() as project:
        yield project


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
    return _folder("SMELT_REAL_SPEECH", "recordings of real speech (see README.md)")


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The folder of a real multilingual model that `SMELT_REAL_MODEL` names; mark the test `real_speech`."""
    return _folder("SMELT_REAL_MODEL", "a Whisper model: `scripts/real-model FOLDER` makes one")


def _folder(variable: str, content: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"set {variable} to a folder with {content}")
    folder = Path(named)
    assert folder.is_dir(), f"{variable}={named} is not a folder"
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Reject several processes in one project: their workers would claim each other's smelts."""
    if "SUPABASE_URL" in os.environ and config.getoption("numprocesses", None):
        raise pytest.UsageError("tests run one at a time in the project of SUPABASE_URL: use -n 0")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a separate project if the environment names a shared one."""
    marker = item.get_closest_marker("own_project")
    if marker is not None and RemoteStack.from_env() is not None:
        pytest.skip(f"needs a separate project, {marker.args[0]}: unset SUPABASE_URL to run it")
