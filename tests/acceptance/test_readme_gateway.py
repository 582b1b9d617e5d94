"""The examples of the gateway's README are executed, in order, against a gateway with a worker.

The calls of external workers are tested by `test_callbacks_readme.py`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.acceptance.commands import ROOT, environment, worker
from tests.harness.documents import code_for
from tests.harness.gateways import options_for, running_gateway
from tests.harness.processes import run
from tests.harness.stacks import Stack, running_project, sign_up
from tests.harness.waiting import wait_until

RECORDING: Final = ROOT / "tests" / "recordings" / "action_item.m4a"
# Prints the status of the response as well, and fails if it is an error.
CURL: Final = "curl() { command curl --fail-with-body -w '%{stderr}%{http_code}' \"$@\"; }\n"


def curls() -> list[str]:
    """Return the commands, each with the lines that it is continued on."""
    blocks = code_for("test_gateway_readme_curls_run_as_printed")
    return "".join(blocks).replace("\\\n", "").splitlines()


# The names that the example uses; Node prints the results, and the event source would wait for more.
GIVEN_TO_EVENT_SOURCE: Final = """
const { GATEWAY: gateway, SMELT: id, READ_TOKEN: readToken } = process.env
const show = (value) => Array.isArray(value) && (console.log(value[0].content), events.close())
"""


@pytest.fixture(scope="module")
def working_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project with a worker."""
    with running_project() as stack, worker(stack.env(), tmp_path_factory.mktemp("worker") / "log"):
        yield stack


class Shell:
    """Runs the commands with the variables that they use, which come from the responses of earlier ones."""

    def __init__(self, stack: Stack, gateway: str, folder: Path) -> None:
        self._folder = folder
        self._gateway = gateway
        self.variables = {
            "SUPABASE_URL": stack.api_url,
            "SUPABASE_PUBLISHABLE_KEY": stack.anon_key,
            "GATEWAY": gateway,
            "NO_PROXY": "*",
        }

    def curl(self, command: str) -> tuple[int, Any]:
        """Run a command; return the status and the JSON of its response, if it is JSON."""
        self._choose_smelt(command)
        done = run(["bash", "-c", CURL + command], cwd=self._folder, env=environment(self.variables))
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        body = json.loads(done.stdout) if done.stdout.startswith("{") else None
        self._remember(command, body or {})
        return int(done.stderr), body

    def _choose_smelt(self, command: str) -> None:
        """Cancel and retry need a smelt that has not completed, and documents one that has."""
        headers = {"Authorization": f"Bearer {self.variables.get('TOKEN')}"}
        with httpx.Client(base_url=self._gateway, headers=headers, timeout=60) as http:
            if "$SMELT/cancel" in command:
                new = {"text": "Some notes.", "submit": False}
                self.variables["SMELT"] = http.post("/api/smelts", json=new).json()["id"]
            elif "$SMELT/transcript" in command:
                path = f"/api/smelts/{self.variables['SMELT']}"
                wait_until(lambda: http.get(path).json()["status"] == "completed", "a completed smelt", 90)

    def _remember(self, command: str, body: dict[str, Any]) -> None:
        if "access_token" in body:
            self.variables["TOKEN"] = body["access_token"]
        elif "token" in body:
            self.variables["READ_TOKEN"] = body["token"]
        elif "subscription_channel" in body and "/api/smelts" in command:
            self.variables["SMELT"] = body["id"]
            if "files" in body:
                self.variables["UPLOAD_PATH"] = body["files"][0].get("upload_path") or ""
        elif "total" in body:
            self.variables["BATCH"] = body["id"]
        elif body.get("notifications"):
            self.variables["NOTIFICATION"] = body["notifications"][0]["id"]


def test_gateway_readme_curls_run_as_printed(working_stack: Stack, tmp_path: Path) -> None:
    shutil.copy(RECORDING, tmp_path / "meeting.m4a")
    with running_gateway(options_for(working_stack)) as gateway:
        shell = Shell(working_stack, gateway.url, tmp_path)
        responses = {command: shell.curl(command) for command in curls()}
    assert len(responses) >= 20
    named = {
        part: response
        for part in ("wait=30", "unread-count", "/read")
        for c, response in responses.items()
        if part in c
    }
    assert named["wait=30"][1]["ended"]["status"] == "completed"
    assert named["/read"][1] == {"marked": 1}
    assert (tmp_path / "meeting.vtt").read_text().startswith("WEBVTT")
    assert (tmp_path / "meeting.md").read_text().startswith("# meeting.m4a")


@pytest.mark.skipif(shutil.which("node") is None, reason="install Node 20.18 or newer")
def test_gateway_readme_event_source_follows_a_smelt(working_stack: Stack) -> None:
    [example] = code_for("test_gateway_readme_event_source_follows_a_smelt")
    with running_gateway(options_for(working_stack)) as gateway:
        headers = {"Authorization": f"Bearer {sign_up(working_stack).access_token}"}
        with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as http:
            smelt = http.post("/api/smelts", json={"text": "Ship it on Monday."}).json()["id"]
            token = http.post(f"/api/smelts/{smelt}/token").json()["token"]
        env = environment({"GATEWAY": gateway.url, "SMELT": smelt, "READ_TOKEN": token, "NO_PROXY": "*"})
        program = f"{GIVEN_TO_EVENT_SOURCE}{example}"
        done = run(["node", "--experimental-eventsource", "--input-type=module", "--eval", program], env=env)
    assert done.returncode == 0, done.stderr
    assert "Ship it on Monday" in done.stdout
