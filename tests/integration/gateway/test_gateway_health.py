"""Liveness, readiness, metrics, and errors of paths that do not exist."""

import re
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.harness.gateways import http_client, options_for, running_gateway
from tests.harness.stacks import Stack

README: Final = Path(__file__).parents[3] / "smelt" / "gateway" / "README.md"


async def test_liveness_and_readiness_respond_while_the_project_responds(visitor: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        response = await visitor.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_an_unreachable_project_is_503_with_retry_after(shared_stack: Stack) -> None:
    with running_gateway(options_for(shared_stack, url="http://127.0.0.1:9")) as gateway:
        async with http_client(gateway.url) as http:
            response = await http.get("/readyz")
            assert response.status_code == 503
            assert response.json()["code"] == "unavailable"
            assert int(response.headers["retry-after"]) > 0
            assert (await http.get("/healthz")).status_code == 200


async def test_metrics_count_requests_by_route_without_ids(visitor: httpx.AsyncClient) -> None:
    await visitor.get("/api/smelts/11111111-1111-4111-8111-111111111111")
    await visitor.get("/nothing/secret")
    await visitor.request("BREW", "/healthz")
    await visitor.request("BREW", "/api/smelts/11111111-1111-4111-8111-111111111111")
    text = (await visitor.get("/metrics")).text
    documented = set(re.findall(r"^\| `(smelt_gateway_\w+)` ", README.read_text(), re.MULTILINE))
    exported = set(re.findall(r"^# HELP (smelt_gateway_\w+) ", text, re.MULTILINE))
    assert documented == {name for name in exported if not name.endswith("_created")}
    assert 'route="/api/smelts/{smelt_id}",status="404"' in text
    assert 'method="unknown",route="unknown"' in text
    assert "BREW" not in text
    assert "11111111" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("DELETE", "/healthz", 405, "method_not_allowed")],
)
async def test_errors_of_unknown_routes_have_the_shape_of_all_errors(
    visitor: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await visitor.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["error"].endswith(".")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
