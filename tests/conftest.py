"""Stacks for the tests that need one."""

import signal
from collections.abc import Iterator

import pytest
from stacks import Stack, cluster, end_cluster, running_project

from smelt.local import LocalCluster

# In the background of a script SIGINT is ignored, and every child would inherit that: what Ctrl-C does is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def end_cluster_after_session() -> Iterator[None]:
    """The server that all stacks of this process are cloned on ends with its tests."""
    yield
    end_cluster()


@pytest.fixture(scope="session")
def local_cluster() -> LocalCluster:
    """That server, for tests that clone stacks of other projects."""
    return cluster()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One project for all tests that leave each other alone: with users and smelts of their own, and no worker."""
    with running_project() as project:
        yield project


@pytest.fixture
def fresh_stack() -> Iterator[Stack]:
    """A project that nobody else uses, for tests that run workers; of a remote one there is no second."""
    with running_project() as project:
        yield project
