"""The OpenAPI document is true: requests made from it get no 5xx and no undocumented response."""

from typing import Final
from uuid import UUID

import httpx
import schemathesis
from gateways import RunningGateway
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from scripted_worker import ScriptedWorker
from stacks import User

CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES_PER_OPERATION: Final = 12


async def test_openapi_document_describes_every_response(
    gateway: RunningGateway, owner: httpx.AsyncClient, user: User, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = (await owner.post("/api/smelts", json={"text": "Ship it."})).json()["id"]
    await (await scripted_worker.claim(UUID(smelt_id))).complete()
    batch_id = (await owner.post("/api/batches", json={})).json()["id"]
    known = {"smelt_id": smelt_id, "batch_id": batch_id}
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES_PER_OPERATION,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case) -> None:
            nonlocal tried
            tried += 1
            # Half of the requests are about objects that exist.
            if tried % 2:
                case.path_parameters.update({n: v for n, v in known.items() if n in case.path_parameters})
            response = case.call(headers={"Authorization": f"Bearer {user.access_token}"}, timeout=30)
            case.validate_response(response, checks=CHECKS)

        operation.as_strategy()
        schemathesis_given = __import__("hypothesis").given
        schemathesis_given(case=operation.as_strategy())(check)()
    assert tried > 100
