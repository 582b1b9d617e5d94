"""`smelt login` and `smelt logout`: commands between them act as the user."""

import json
import os
import pty
import select
import stat
import subprocess
import sys
import termios
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.commands import environment, smelt
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import wait_until

STATE = "XDG_STATE_HOME"


@pytest.fixture
def env(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """The environment of a user of an app, with a state folder of its own."""
    app = {name: value for name, value in stack.env().items() if name in ("SUPABASE_URL", "SUPABASE_ANON_KEY")}
    return {**app, STATE: str(tmp_path / "state")}


def login(env: dict[str, str], *options: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smelt", "login", *options]
    return subprocess.run(
        command, env=environment(env), input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def files(env: dict[str, str]) -> list[Path]:
    return [path for path in Path(env[STATE]).rglob("*") if path.suffix == ".json"]


def read_until(terminal: int, text: bytes) -> bytes:
    """Read the output of a terminal up to the given text."""
    shown = b""
    while text not in shown:
        assert select.select([terminal], [], [], 30)[0], shown
        shown += os.read(terminal, 1024)
    return shown


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def listed(env: dict[str, str]) -> list[str]:
    done = smelt("list", "--json", env=env)
    assert done.returncode == 0, done.stdout
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def submit_text(env: dict[str, str]) -> str:
    done = smelt("submit", "--text", "Ship it.", "--json", env=env)
    assert done.returncode == 0, done.stdout
    return str(json.loads(done.stdout)["id"])


def test_commands_after_login_act_as_the_user_until_logout(stack: Stack, env: dict[str, str]) -> None:
    user = sign_up(stack)
    done = login(env, "--email", user.email, stdin=f"{user.password}\n")
    assert done.returncode == 0, done.stderr
    assert user.email in done.stdout
    (file,) = files(env)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert user.password not in file.read_text()
    smelt_id = submit_text(env)
    assert listed(env) == [smelt_id]
    assert listed({**env, "SMELT_ACCESS_TOKEN": sign_up(stack).access_token}) == []
    out = smelt("logout", env=env)
    assert (out.returncode, files(env)) == (0, [])
    assert smelt("list", env=env).returncode == 2
    assert "not signed in" in smelt("logout", env=env).stdout


def test_login_anonymously_and_by_sign_up(env: dict[str, str]) -> None:
    assert login(env, "--anonymous").returncode == 0
    assert listed(env) == []
    address = f"{uuid4()}@example.com"
    done = login(env, "--sign-up", "--json", stdin=f"{address}\nlong enough\n")
    assert done.returncode == 0, done.stdout
    line = json.loads(done.stdout)
    assert (line["event"], line["email"]) == ("login", address)
    assert len(files(env)) == 1


def test_login_with_a_wrong_password_is_rejected(stack: Stack, env: dict[str, str]) -> None:
    user = sign_up(stack)
    done = login(env, "--email", user.email, "--json", stdin="wrong\n")
    assert done.returncode == 2
    assert "credentials" in json.loads(done.stdout)["message"]
    assert files(env) == []
    assert login(env, "--email", user.email).returncode == 2


def test_login_asks_for_the_password_without_echo(stack: Stack, env: dict[str, str]) -> None:
    user = sign_up(stack)
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "smelt", "login", "--email", user.email]
    with subprocess.Popen(command, env=environment(env), stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        try:
            shown = read_until(terminal, b"Password")
            wait_until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, "a terminal without echo")
            os.write(terminal, f"{user.password}\n".encode())
            shown += read_until(terminal, b"Signed in")
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(terminal)
    assert user.password.encode() not in shown


def test_login_token_that_expired_is_refreshed_by_concurrent_commands(stack: Stack, env: dict[str, str]) -> None:
    user = sign_up(stack)
    login(env, "--email", user.email, stdin=f"{user.password}\n")
    (file,) = files(env)
    before = json.loads(file.read_text())
    change(file, expires_at=time.time() - 1)
    command = [sys.executable, "-m", "smelt", "list", "--json"]
    running = [subprocess.Popen(command, env=environment(env), stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    for process in running:
        process.communicate()
    after = json.loads(file.read_text())
    assert after["refresh_token"] != before["refresh_token"]
    assert after["expires_at"] > time.time()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_login_token_that_was_rejected_is_refreshed(stack: Stack, env: dict[str, str]) -> None:
    user = sign_up(stack)
    login(env, "--email", user.email, stdin=f"{user.password}\n")
    (file,) = files(env)
    header, body, _ = json.loads(file.read_text())["access_token"].split(".")
    change(file, access_token=f"{header}.{body}.bm90IHNpZ25lZA")
    assert listed(env) == []


def test_login_session_that_ended_requires_a_new_login(stack: Stack, env: dict[str, str]) -> None:
    user = sign_up(stack)
    login(env, "--email", user.email, stdin=f"{user.password}\n")
    (file,) = files(env)
    change(file, expires_at=0, refresh_token="used up")
    done = smelt("list", env=env)
    assert done.returncode == 2
    assert "smelt login" in done.stderr


def test_login_file_that_others_can_read_is_rejected(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    user = sign_up(stack)
    login(env, "--email", user.email, stdin=f"{user.password}\n")
    (file,) = files(env)
    file.chmod(0o640)
    done = smelt("list", env=env)
    assert (done.returncode, "not private" in done.stderr) == (2, True)
    file.chmod(0o600)
    file.rename(tmp_path / "elsewhere.json")
    file.symlink_to(tmp_path / "elsewhere.json")
    assert smelt("list", env=env).returncode == 2
    assert smelt("logout", env=env).returncode == 0
    assert (tmp_path / "elsewhere.json").exists()
    assert login(env, "--email", user.email, stdin=f"{user.password}\n").returncode == 0
    assert listed(env) == []
