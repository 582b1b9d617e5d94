"""The Supabase project that the tests run against: the embedded stack, or the one that the environment names."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

import httpx

from smelt.local import LocalStack


class Stack(Protocol):
    """What a test may ask of either."""

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
    """A project that was there before: `SUPABASE_URL` and its keys, and `SUPABASE_DB_URL` for its role `postgres`."""

    api_url: str
    anon_key: str
    service_role_key: str
    db_url: str

    @classmethod
    def from_env(cls) -> "RemoteStack | None":
        """Answer the project of the environment, None when it names none."""
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
        """What a command needs to reach it."""
        return {
            "SUPABASE_URL": self.api_url,
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
        }


@dataclass(frozen=True)
class User:
    """Somebody who is signed in."""

    id: str
    email: str
    password: str
    access_token: str


def sign_up(stack: Stack) -> User:
    """Make a user of one's own and sign in."""
    email, password = f"{uuid4()}@example.com", str(uuid4())
    response = httpx.post(
        f"{stack.api_url}/auth/v1/signup",
        headers={"apikey": stack.anon_key},
        json={"email": email, "password": password},
        timeout=20,
    )
    response.raise_for_status()
    session = response.json()
    return User(session["user"]["id"], email, password, session["access_token"])


@contextmanager
def running(stack: LocalStack) -> Iterator[LocalStack]:
    """Run a stack from code without a loop, such as a fixture that outlives the loops of the tests."""
    with asyncio.Runner() as runner:
        runner.run(stack.__aenter__())
        try:
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


@contextmanager
def running_project() -> Iterator[Stack]:
    """The project that the environment names, or else an embedded one of its own."""
    remote = RemoteStack.from_env()
    if remote is not None:
        yield remote
        return
    with running(LocalStack.from_env()) as local:
        yield local
