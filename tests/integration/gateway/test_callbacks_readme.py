"""Every `curl` of the README's section about external workers runs as printed, and its job is one."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

import httpx
from dispatched_smelts import dispatched, state_of
from gateways import RunningGateway
from processes import run
from scripted_worker import ScriptedWorker

import smelt.gateway
from smelt.contract.dispatch import DispatchedJob

SECTION: Final = (
    (Path(smelt.gateway.__file__).parent / "README.md")
    .read_text()
    .partition("## External workers")[2]
    .partition("\n## ")[0]
)
[JOB] = re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)
CURLS: Final = [
    line
    for block in re.findall(r"```\n(.*?)```", SECTION.replace(f"```json\n{JOB}```", ""), re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("curl ")
]


@contextmanager
def service() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Run a service that accepts every job; yield its address, and the authorizations and bodies that it receives."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["Authorization"], body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="service")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jobs", received
        finally:
            server.shutdown()
            thread.join(30)


def test_callbacks_readme_job_is_a_dispatched_job() -> None:
    job = DispatchedJob.model_validate_json(JOB)
    assert json.loads(job.model_dump_json()) == json.loads(JOB)


async def test_callbacks_readme_curls_run_as_printed(
    gateway: RunningGateway, owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(JOB)
    variables = {"GATEWAY": gateway.url, "SMELT_DISPATCH_TOKEN": "secret", "NO_PROXY": "*", "PATH": "/usr/bin:/bin"}
    assert len(CURLS) == 4
    with service() as (url, received):
        for command in CURLS:
            dispatch = await dispatched(owner, owner, scripted_worker)
            env = {**variables, "SERVICE": url, "CALLBACK_TOKEN": dispatch.token}
            shown = command.replace("curl -s", "curl -s --fail-with-body", 1)
            done = await asyncio.to_thread(run, ["bash", "-c", shown], cwd=tmp_path, env=env)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            if "callbacks" in command:
                assert json.loads(done.stdout)["status"] == "accepted"
            if "segments" in command:
                assert (await state_of(owner, dispatch.smelt_id))["segments"][0]["text"] == "Good morning."
            await owner.post(f"/api/smelts/{dispatch.smelt_id}/cancel")
    assert received == [("Bearer secret", JOB.replace("\n", "").encode())]
