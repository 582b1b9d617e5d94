"""Stacks for the tests that need one."""

from collections.abc import Iterator

import pytest
from stacks import Stack, cluster, end_cluster, running_project

from smelt.local import LocalCluster


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
    """A project for one test, such as one that runs workers; of a remote project there is only one."""
    with running_project() as project:
        yield project
