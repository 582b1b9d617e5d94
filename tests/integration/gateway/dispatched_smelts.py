"""Smelts that a scripted worker has dispatched, and the calls of the external service."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from smelt.contract.dispatch import CallbackTokens
from tests.harness.gateways import SIGNING_KEY
from tests.harness.scripted_worker import ScriptedWorker

DURATION_S = 100.0
LEASE_S = 120


@dataclass
class Service:
    """An external service that has one smelt, whose files last 100 s each."""

    http: httpx.AsyncClient
    smelt_id: UUID
    attempt: int
    file_ids: tuple[str, ...]
    token: str

    async def call(self, *, token: str | None = None, **body: Any) -> httpx.Response:
        """Call back with the token of the last response, or another one."""
        headers = {"X-Callback-Token": self.token if token is None else token}
        response = await self.http.post("/api/callbacks/progress", json=body, headers=headers)
        if response.is_success and token is None:
            self.token = response.json()["callback_token"]
        return response


def token_of(smelt_id: UUID, attempt: int, *, keys: tuple[str, ...] = (SIGNING_KEY,), now: float | None = None) -> str:
    """Return a callback token, as a worker issues it."""
    return CallbackTokens(keys).issue(smelt_id, attempt, LEASE_S, time.time() if now is None else now)[0]


def segment(index: int, text: str | None = None) -> dict[str, Any]:
    """Return a segment of one second."""
    return {"index": index, "start": float(index), "end": index + 1.0, "text": text or f"text {index}"}


async def dispatched(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient, worker: ScriptedWorker, files: int = 1
) -> Service:
    """Create a smelt of recordings, and dispatch it as a worker does."""
    forms = [("file", (f"{number}.wav", b"recording", "audio/wav")) for number in range(files)]
    created = await owner.post("/api/smelts", files=forms, data={"prompt": ""})
    created.raise_for_status()
    job = await worker.claim(UUID(created.json()["id"]))
    await job.report(
        "transcribing",
        20,
        files=[
            {"id": str(file.id), "status": "processing", "stage": "transcribing", "duration_seconds": DURATION_S}
            for file in job.claim.files
        ],
    )
    claim = job.claim
    assert await worker.calls.dispatch_smelt(claim.id, claim.attempt, lease_s=LEASE_S) == "go_on"
    file_ids = tuple(str(file.id) for file in claim.files)
    return Service(visitor, claim.id, claim.attempt, file_ids, token_of(claim.id, claim.attempt))


async def state_of(owner: httpx.AsyncClient, smelt_id: UUID) -> dict[str, Any]:
    """Return the state of a smelt."""
    response = await owner.get(f"/api/smelts/{smelt_id}")
    response.raise_for_status()
    state: dict[str, Any] = response.json()
    return state


async def repeated(service: Service, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """Call back with all of these bodies at once."""
    return await asyncio.gather(*(service.call(token=service.token, **body) for body in bodies))
