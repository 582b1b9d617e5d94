"""Control characters in file names, transcripts and notes of other users never reach a terminal."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from smelt import blocking
from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.events import Result
from tests.acceptance.commands import STANDUP, smelt
from tests.harness.stacks import Stack, running_local, sign_up

HOSTILE = "a\x1b]0;title\x07b\x1b]52;c;ZXZpbA==\x1b\\c\x1b[2Jd\x9b2Je\x9d52;c;Zg==\x9cf\rg\x08h\x7fi"
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
RICH_OWN = re.compile(r"\x1b\[[0-9;]*[mAK]|\x1b\[2K|\x1b\[\?25[lh]|\r")
TERMINAL_ENV = {"FORCE_COLOR": "1", "TERM": "xterm"}
"""With these variables, a command prints to a pipe as it does to a terminal."""


@pytest.fixture(scope="module")
def project() -> Iterator[Stack]:
    """A separate project: the tests change rows and claim every smelt that is due."""
    with running_local() as running:
        yield running


@pytest.fixture(scope="module")
def hostile(project: Stack) -> tuple[UUID, dict[str, str]]:
    """A completed smelt with hostile text in all fields, and the environment of its owner."""
    user = sign_up(project)
    with blocking.connect(project.api_url, project.anon_key, user.access_token) as client:
        created = client.create(files=[STANDUP])
    # Bypass the checks of `create_smelt`, as in a row that is older than these checks.
    with psycopg.connect(project.db_url) as owner:
        owner.execute("update public.smelt_files set filename = %s where smelt_id = %s", (HOSTILE, created.id))
    asyncio.run(complete(project, created.id))
    return created.id, {**project.env(), "SMELT_ACCESS_TOKEN": user.access_token}


async def complete(project: Stack, smelt_id: UUID) -> None:
    async with Project(project.api_url, project.service_role_key) as worker_project:
        calls = WorkerRpc(worker_project.rpc)
        claims = await calls.claim_smelts("hostile", max_count=100, lease_s=600)
        (claim,) = [claim for claim in claims.smelts if claim.id == smelt_id]
        file_id = claim.files[0].id
        segment = {"file_id": str(file_id), "index": 0, "start": 0, "end": 1, "text": HOSTILE}
        await calls.report_progress(
            smelt_id, claim.attempt, status="transcribing", percentage=40, files=(), segments=[segment], lease_s=600
        )
        notes = f"# {HOSTILE}\n\n- [link](https://example.com) {HOSTILE}\n"
        result = Result(file_id=file_id, filename=claim.files[0].filename, content=notes)
        await calls.complete_smelt(smelt_id, claim.attempt, [result])


@pytest.mark.parametrize("env", [{}, TERMINAL_ENV], ids=["pipe", "terminal"])
@pytest.mark.parametrize(
    "command",
    ["watch ID", "watch ID --json", "show ID", "list", "list --json"]
    + [f"show ID --format {form}" for form in ("txt", "srt", "vtt", "json")],
)
def test_commands_escape_control_characters(
    hostile: tuple[UUID, dict[str, str]], command: str, env: dict[str, str]
) -> None:
    smelt_id, owner = hostile
    done = smelt(*command.replace("ID", str(smelt_id)).split(), env={**owner, **env, "COLUMNS": "400"})
    assert done.returncode == 0, done.stderr
    printed = RICH_OWN.sub("", done.stdout + done.stderr) if env else done.stdout + done.stderr
    assert CONTROLS.findall(printed) == []
    assert r"\u001b]52;c;ZXZpbA==" in printed
    if "json" in command:
        assert HOSTILE in strings(json.loads(done.stdout.splitlines()[-1] if "--json" in command else done.stdout))


def strings(value: object) -> list[str]:
    """Return every string in a JSON value."""
    match value:
        case dict():
            return [text for each in value.values() for text in strings(each)]
        case list():
            return [text for each in value for text in strings(each)]
        case _:
            return [value] if isinstance(value, str) else []


def test_errors_escape_control_characters(project: Stack, tmp_path: Path) -> None:
    recording = tmp_path / "a\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J\x7f.exe"
    recording.write_bytes(b"no recording")
    done = smelt("submit", recording, env=project.env())
    assert done.returncode == 2
    assert done.stderr.startswith("smelt: ")
    assert CONTROLS.findall(done.stdout + done.stderr) == []
