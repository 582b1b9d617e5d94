"""`smelt webhook`, and the receivers of the README, which verify what a worker sends."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner, Result

from smelt.cli import app
from smelt.local.processes.ports import choose
from tests.acceptance.commands import ROOT, environment, worker
from tests.harness.documents import code_for
from tests.harness.processes import started
from tests.harness.stacks import Stack, running_project, sign_up
from tests.harness.waiting import wait_until

PYTHON, JAVASCRIPT = code_for("test_webhook_receiver_of_the_readme_verifies_a_test")
JS = ROOT / "tests" / "js"
NODE = ["node", "--input-type=module", "-e", JAVASCRIPT]
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules").exists(), reason="run `npm install` in tests/js"
)

Line = dict[str, Any]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A project without a worker, until a test starts one."""
    with running_project() as stack:
        yield stack


@pytest.fixture(scope="module")
def working_stack(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The project with a worker that may send to this machine."""
    env = {**own_stack.env(), "SMELT_WEBHOOK_ALLOW_PRIVATE": "true"}
    with worker(env, tmp_path_factory.mktemp("worker") / "log"), psycopg.connect(own_stack.db_url) as owner:
        owner.autocommit = True
        online = "select count(*) > 0 from smelt.live_workers"
        wait_until(lambda: owner.execute(online).fetchone() == (True,), "the first heartbeat of the worker")
        yield own_stack


def as_user(stack: Stack) -> dict[str, str]:
    """Return the environment of a new user."""
    return {**stack.env(), "SUPABASE_SERVICE_ROLE_KEY": "", "SMELT_ACCESS_TOKEN": sign_up(stack).access_token}


def smelt_webhook(*arguments: str, env: Mapping[str, str]) -> Result:
    """Run `smelt webhook` in this process, without the time to start one."""
    others = {name: None for name in os.environ if name.startswith(("SMELT_", "SUPABASE_"))}
    return CliRunner().invoke(app, ["webhook", *arguments], env={**others, "XDG_STATE_HOME": "/nonexistent", **env})


def webhook(*arguments: str, env: Mapping[str, str]) -> tuple[int, list[Line]]:
    """Run `smelt webhook ... --json`; return its exit code and its lines."""
    done = smelt_webhook(*arguments, "--json", env=env)
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.own_project("without a worker")
def test_webhook_commands_manage_the_webhooks_of_a_user(own_stack: Stack) -> None:
    env = as_user(own_stack)
    code, [created] = webhook("create", "https://hook.example/", "--event", "smelt.failed", env=env)
    assert (code, created["events"], created["secret"][:6]) == (0, ["smelt.failed"], "whsec_")
    code, [error] = webhook("test", created["id"], env=env)
    assert (code, error["code"]) == (3, "unreachable")
    assert "no worker is running" in error["message"]
    _, [disabled] = webhook("disable", created["id"], env=env)
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "requested")
    _, [enabled] = webhook("enable", created["id"], env=env)
    assert "secret" not in enabled
    _, [rotated] = webhook("rotate", created["id"], env=env)
    assert rotated["secret"] != created["secret"]
    listed = smelt_webhook("list", env=env)
    assert listed.stdout.startswith(f"{created['id']}  enabled  user ")
    _, [delivery] = webhook("deliveries", created["id"], env=env)
    assert (delivery["delivery"]["event"], delivery["delivery"]["error"]) == ("webhook.test", "disabled")
    assert webhook("deliveries", created["id"], env=as_user(own_stack)) == (
        2,
        [{"event": "error", "code": "not_found", "message": "The webhook does not exist, or belongs to another user."}],
    )
    assert webhook("delete", created["id"], env=env)[0] == 0
    assert webhook("list", env=env) == (0, [])


def test_webhook_commands_need_a_login_or_the_service_key(own_stack: Stack) -> None:
    visitor = {**own_stack.env(), "SUPABASE_SERVICE_ROLE_KEY": ""}
    code, [error] = webhook("list", env=visitor)
    assert code == 2
    assert "smelt login" in error["message"]
    _, [created] = webhook("create", "https://hook.example/", env=own_stack.env())
    assert created["user_id"] is None
    assert webhook("delete", created["id"], env=own_stack.env())[0] == 0


@contextmanager
def receiver(command: list[str], port: int, secret: str, log: Path) -> Iterator[None]:
    """Run a receiver of the README; its output is in `log`."""
    env = environment({"WEBHOOK_SECRET": secret, "PORT": str(port)})
    with log.open("wb") as sink, started(command, env=env, cwd=JS, stdout=sink, stderr=sink):
        wait_until(lambda: is_forgery_rejected(port), "a receiver that rejects a forged request")
        yield


def is_forgery_rejected(port: int) -> bool:
    """Return True if the receiver responds 401 to a request with a wrong signature; False if it does not run yet."""
    headers = {"webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    try:
        response = httpx.post(f"http://127.0.0.1:{port}/", headers=headers, content="{}", trust_env=False)
    except httpx.ConnectError:
        return False
    assert response.status_code == 401
    return True


@pytest.mark.parametrize(
    "command", [[sys.executable, "-c", PYTHON], pytest.param(NODE, marks=needs_node)], ids=["python", "javascript"]
)
def test_webhook_receiver_of_the_readme_verifies_a_test(
    working_stack: Stack, tmp_path: Path, command: list[str]
) -> None:
    env, port, log = as_user(working_stack), choose(0, ""), tmp_path / "log"
    _, [created] = webhook("create", f"http://127.0.0.1:{port}/hook", env=env)
    with receiver(command, port, created["secret"], log):
        tested = smelt_webhook("test", created["id"], env=env)
    assert tested.exit_code == 0, tested.stdout + tested.stderr
    assert re.search(r"webhook\.test  delivered  HTTP 204  1 attempt  \d+ ms\n", tested.stdout), tested.stdout
    assert f"webhook.test {created['id']}" in log.read_text().splitlines()
