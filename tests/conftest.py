"""Stacks for the tests that need one."""

from collections.abc import Iterator

import pytest
from stacks import Stack, running_project


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
