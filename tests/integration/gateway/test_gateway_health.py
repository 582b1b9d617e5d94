"""Liveness, readiness, and errors of paths that do not exist."""

import httpx
import pytest
from gateways import options_for, running_gateway
from stacks import Stack


def test_liveness_and_readiness_respond_while_the_project_responds(visitor: httpx.Client) -> None:
    for path in ("/healthz", "/readyz"):
        response = visitor.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_readiness_is_503_with_retry_after_while_the_project_is_unreachable(stack: Stack) -> None:
    with running_gateway(options_for(stack, url="http://127.0.0.1:9")) as gateway:
        response = httpx.get(f"{gateway.url}/readyz", timeout=30)
        assert response.status_code == 503
        assert response.json()["code"] == "unavailable"
        assert int(response.headers["retry-after"]) > 0
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("DELETE", "/healthz", 405, "method_not_allowed")],
)
def test_errors_of_unknown_routes_have_the_shape_of_all_errors(
    visitor: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    response = visitor.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["error"].endswith(".")
