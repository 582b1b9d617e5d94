"""The external service of a run: it posts the transcripts of an undisturbed run, and fails at times."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any, Final

import httpx

from smelt.contract.dispatch import DispatchedFile, DispatchedJob
from smelt.contract.events import Segment
from tests.chaos.plan import Plan
from tests.harness.background import in_background
from tests.harness.external_services import Service, running_service
from tests.harness.stacks import TLS

EXTERNAL_MODEL: Final = "external"
POLL_S: Final = 0.1
STEP_S: Final = 0.3
RETRY_S: Final = 0.3
TIMEOUT_S: Final = 10.0
# The outcomes of jobs, with their weights.
OUTCOMES: Final = {"completes": 6, "is silent": 1, "stops": 1, "fails": 1}

Texts = Mapping[str, Sequence[Segment]]
"""The segments of each recording."""


class Callbacks:
    """The callbacks of a job, each repeated until the gateway has responded."""

    def __init__(self, http: httpx.AsyncClient, job: DispatchedJob) -> None:
        self._http = http
        self._job = job
        self._token = job.callback_token

    async def post(self, **body: Any) -> bool:
        """Post a callback; return False if the service has to stop."""
        while True:
            with suppress(httpx.TransportError):
                headers = {"X-Callback-Token": self._token}
                response = await self._http.post(self._job.callback_url, json=body, headers=headers)
                if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.CONFLICT):
                    return False
                if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    self._token = response.raise_for_status().json()["callback_token"]
                    return True
            await asyncio.sleep(RETRY_S)


async def transcribe(
    callbacks: Callbacks, job: DispatchedJob, file: DispatchedFile, texts: Texts, outcome: str
) -> bool:
    """Post the segments of a file that are not saved yet, one by one; return False to stop."""
    saved = {segment.file_id: segment.index for segment in job.resume}
    first = saved.get(file.file_id, -1) + 1
    file_id = str(file.file_id)
    if outcome == "is silent" or not await callbacks.post(file_id=file_id, progress=0):
        return False
    for segment in texts[file.filename][first:]:
        await asyncio.sleep(STEP_S)
        end = min(segment.end, file.duration)
        # A callback may be repeated.
        values = segment.model_dump(mode="json", include={"index", "text"})
        values |= {"start": min(segment.start, end), "end": end}
        if not await callbacks.post(file_id=file_id, progress=100 * end / file.duration, segments=[values]):
            return False
        if outcome == "stops":
            return False
    if outcome == "fails":
        await callbacks.post(file_id=file_id, error={"message": "out of memory", "transient": True})
        return False
    return await callbacks.post(file_id=file_id, language="en", done=True)


async def _work(http: httpx.AsyncClient, job: DispatchedJob, texts: Texts, chance: Random) -> None:
    callbacks = Callbacks(http, job)
    [outcome] = chance.choices(list(OUTCOMES), list(OUTCOMES.values()))
    for file in job.files:
        if not await transcribe(callbacks, job, file, texts, outcome):
            return


@asynccontextmanager
async def external_service(plan: Plan, texts: Texts) -> AsyncIterator[Service]:
    """Run the service; an error of it ends the block."""

    async def work_on_all(service: Service, http: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as tasks:
            count = 0
            while True:
                for _, body in service.received[count:]:
                    job = DispatchedJob.model_validate_json(body)
                    tasks.create_task(_work(http, job, texts, plan.chance(f"job {count}")))
                    count += 1
                await asyncio.sleep(POLL_S)

    with running_service() as service:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=TLS) as http, in_background(work_on_all(service, http)):
            yield service
