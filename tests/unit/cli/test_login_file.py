"""The session of a login is stored in a private file, and refreshed by one process at a time."""

import asyncio
import json
import stat
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from smelt.backend.session import SignInSession
from smelt.cli import app
from smelt.cli.connection import user_token
from smelt.cli.login_file import LoginFile, LoginTokens
from smelt.errors import PermanentError, Unauthorized, Unavailable
from smelt.settings import ProjectSettings

URL = "http://127.0.0.1:9"


def session(token: str, expires_in_s: float) -> SignInSession:
    return SignInSession(
        access_token=token, refresh_token="refresh", expires_at=time.time() + expires_in_s, user_id=UUID(int=1)
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoginFile:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return LoginFile(URL)


def test_login_of_each_project_has_a_private_file(file: LoginFile) -> None:
    assert file.read() is None
    assert not file.remove()
    file.write(session("one", 60))
    file.write(session("two", 60))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]
    assert LoginFile("https://other.example").read() is None
    stored = file.read()
    assert stored is not None
    assert stored.access_token == "two"
    assert file.remove()


@pytest.mark.parametrize("content", ["", "{}", "\udcff"])
def test_login_file_that_is_damaged_is_rejected(file: LoginFile, content: str) -> None:
    file.write(session("one", 60))
    file.path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(PermanentError, match="smelt login"):
        file.read()


async def test_login_token_is_used_until_shortly_before_its_expiry(file: LoginFile) -> None:
    file.write(session("one", 600))
    assert await LoginTokens(file, URL, "key")() == "one"
    file.write(session("one", 60))
    with pytest.raises(Unavailable):  # No server listens at the URL.
        await LoginTokens(file, URL, "key")()
    file.remove()
    with pytest.raises(Unauthorized, match="smelt login"):
        await LoginTokens(file, URL, "key")()


async def test_login_token_refresh_by_another_process_is_awaited(file: LoginFile) -> None:
    file.write(session("one", 0))
    async with file.locked():
        waiting = asyncio.create_task(LoginTokens(file, URL, "key")())
        await asyncio.sleep(0)  # The task has read the old token and waits for the lock.
        file.write(session("two", 600))
    assert await asyncio.wait_for(waiting, 10) == "two"


def test_commands_without_file_locks_are_those_of_a_visitor(file: LoginFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no `fcntl`."""
    file.write(session("one", 600))
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_ANON_KEY", "key")
    monkeypatch.delenv("SMELT_ACCESS_TOKEN", raising=False)
    assert user_token(ProjectSettings.read()) is not None
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, "smelt.cli.login_file")
    assert user_token(ProjectSettings.read()) is None
    done = CliRunner().invoke(app, ["login", "--json"], input="a@example.com\nsecret\n")
    assert done.exit_code == 2
    message = json.loads(done.stdout)["message"]
    assert "Linux or macOS" in message
    assert "SMELT_ACCESS_TOKEN" in message
    assert json.loads(CliRunner().invoke(app, ["logout", "--json"]).stdout)["was_signed_in"] is True
