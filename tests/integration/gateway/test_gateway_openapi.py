"""The OpenAPI document is true: requests made from it get no 5xx and no undocumented response."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from uuid import UUID

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.harness.gateways import RunningGateway, options_for, running_gateway
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.integration.gateway.dispatched_smelts import dispatched

CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS: Final = r"/(batches/.*|files|notifications)/events$"
"""Streams that do not end by themselves."""
EXAMPLES: Final = settings(
    max_examples=5, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def gateway(shared_stack: Stack) -> Iterator[RunningGateway]:
    """A gateway whose requests wait for transcripts only shortly, as nobody makes one."""
    with running_gateway(options_for(shared_stack, openai_wait_s=0.1)) as running:
        yield running


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_openapi_document_describes_every_response(
    gateway: RunningGateway,
    owner: httpx.AsyncClient,
    user: User,
    scripted_worker: ScriptedWorker,
    mode: GenerationMode,
) -> None:
    batch_id = (await owner.post("/api/batches", json={})).json()["id"]
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    statuses: dict[str, set[int]] = {}
    for found in schema.exclude(path_regex=ENDLESS).get_all_operations():
        operation = found.ok()
        smelt_id = (await owner.post("/api/smelts", json={"text": "Ship it."})).json()["id"]
        await (await scripted_worker.claim(UUID(smelt_id))).complete()
        known = {"smelt_id": smelt_id, "batch_id": batch_id}
        headers = {"Authorization": f"Bearer {user.access_token}"}
        if operation.path == "/api/callbacks/progress":
            headers["X-Callback-Token"] = (await dispatched(owner, owner, scripted_worker)).token
        statuses[operation.label] = statuses_of(operation, mode, known, headers)
    if mode is GenerationMode.POSITIVE:
        succeeded = {label for label, found in statuses.items() if min(found) < 300}
        # The project rejects random prompts and speakers, and has no transcripts.
        transcripts = {"POST /v1/audio/transcriptions", "POST /v1/audio/translations"}
        assert set(statuses) - succeeded <= {"POST /api/smelts", "POST /api/smelts/{smelt_id}/speakers", *transcripts}
    else:
        assert sum(len(found) for found in statuses.values()) > len(statuses)


def statuses_of(
    operation: APIOperation, mode: GenerationMode, known: dict[str, str], headers: dict[str, str]
) -> set[int]:
    """Send requests of an operation, some about objects that exist; check and return the statuses of the responses."""
    statuses: set[int] = set()
    numbers = itertools.count()

    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict):
            case.body.pop("stream", None)  # Without a transcript, it does not end.
        if mode is GenerationMode.POSITIVE:
            if "wait" in case.query:
                case.query["wait"] = 0
            is_about_known = next(numbers) % 2
            if is_about_known:
                case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
                case.query.pop("token", None)
            if "X-Callback-Token" in headers:
                # An end would leave nothing to report.
                kept = {"progress"} if is_about_known else case.body.keys() - {"done", "error"}
                case.body = {key: case.body[key] for key in case.body.keys() & kept}
        response = case.call(headers=headers, timeout=30)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    with suppress(Unsatisfiable):  # Without parameters, no request is invalid.
        check()
    return statuses
