"""Every `curl` of the README's section about external workers runs as printed, and its job is one."""

import asyncio
import json
from pathlib import Path
from typing import Final

import httpx

from smelt.contract.dispatch import DispatchedJob
from tests.harness.documents import code_for
from tests.harness.external_services import running_service
from tests.harness.gateways import RunningGateway
from tests.harness.processes import run
from tests.harness.scripted_worker import ScriptedWorker
from tests.integration.gateway.dispatched_smelts import dispatched, state_of

[JOB] = code_for("test_callbacks_readme_job_is_a_dispatched_job")
CURLS: Final = [
    line
    for block in code_for("test_callbacks_readme_curls_run_as_printed")
    for line in block.replace("\\\n", "").splitlines()
]


def test_callbacks_readme_job_is_a_dispatched_job() -> None:
    job = DispatchedJob.model_validate_json(JOB)
    assert json.loads(job.model_dump_json()) == json.loads(JOB)


async def test_callbacks_readme_curls_run_as_printed(
    gateway: RunningGateway, owner: httpx.AsyncClient, scripted_worker: ScriptedWorker, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(JOB)
    variables = {"GATEWAY": gateway.url, "SMELT_DISPATCH_TOKEN": "secret", "NO_PROXY": "*", "PATH": "/usr/bin:/bin"}
    assert len(CURLS) == 4
    with running_service() as service:
        for command in CURLS:
            dispatch = await dispatched(owner, owner, scripted_worker)
            env = {**variables, "SERVICE": service.url, "CALLBACK_TOKEN": dispatch.token}
            shown = command.replace("curl -s", "curl -s --fail-with-body", 1)
            done = await asyncio.to_thread(run, ["bash", "-c", shown], cwd=tmp_path, env=env)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            if "callbacks" in command:
                assert json.loads(done.stdout)["status"] == "accepted"
            if "segments" in command:
                assert (await state_of(owner, dispatch.smelt_id))["segments"][0]["text"] == "Good morning."
            await owner.post(f"/api/smelts/{dispatch.smelt_id}/cancel")
    assert service.received == [("Bearer secret", JOB.replace("\n", "").encode())]
