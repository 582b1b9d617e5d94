"""The gateway itself: CORS, health and unknown routes."""

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from smelt.local import StackHandle

ORIGIN = "http://localhost:5173"


@pytest.mark.parametrize("path", ["/rest/v1/rpc/x", "/auth/v1/signup", "/storage/v1/object/b/k", "/functions/v1/x"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_cors_preflight_is_allowed_without_a_key(path: str, method: str, http: httpx.AsyncClient) -> None:
    """A preflight needs no key, and allows any header."""
    requested = "authorization,apikey,x-client-info,content-type,x-upsert,prefer,x-supabase-api-version"
    response = await http.options(
        path,
        headers={
            "origin": ORIGIN,
            "access-control-request-method": method,
            "access-control-request-headers": requested,
        },
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert method in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-headers"] == requested


async def test_cors_headers_are_sent_once_on_errors_and_results(
    http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """Without CORS headers a page could not read an error; browsers reject duplicate headers."""
    for headers, status in (({}, 401), ({"apikey": bare_stack.anon_key}, 200)):
        response = await http.get("/rest/v1/", headers={"origin": ORIGIN, **headers})
        assert response.status_code == status
        assert response.headers.get_list("access-control-allow-origin") == ["*"]
        for exposed in ("Content-Range", "Location", "Upload-Offset"):
            assert exposed in response.headers["access-control-expose-headers"]


async def test_health_is_served_without_a_key(http: httpx.AsyncClient) -> None:
    """Scripts that wait for a stack have no key yet."""
    assert (await http.get("/health")).json() == {"healthy": True}


@pytest.mark.parametrize("path", ["/functions/v1/hello", "/graphql/v1", "/pg/tables", "/analytics/v1/endpoints"])
async def test_gateway_route_that_is_not_served_returns_404_with_a_hint(path: str, http: httpx.AsyncClient) -> None:
    """The message names `supabase start`."""
    response = await http.post(path, json={})
    assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND")
    assert "supabase start" in response.json()["message"]


@pytest.mark.parametrize("path", ["/vector/GetIndex", "/s3/b"])
async def test_storage_route_that_is_not_served_returns_404_with_a_hint(path: str, http: httpx.AsyncClient) -> None:
    """The error has Storage's format."""
    response = await http.post(f"/storage/v1{path}")
    assert (response.status_code, response.json()["code"]) == (404, "FeatureNotEnabled")
    assert response.json()["statusCode"] == "404"
    assert "supabase start" in response.json()["message"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/rest/v1", "/rest/v2/x"])
async def test_unknown_path_returns_404_in_the_shape_of_the_platform(path: str, http: httpx.AsyncClient) -> None:
    """The message is that of the platform's gateway."""
    response = await http.get(path)
    assert response.status_code == 404
    assert response.json() == {"message": "no Route matched with those values"}


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"host": "evil.example"}])
async def test_page_of_another_machine_is_rejected(
    headers: dict[str, str], http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """The page knows the keys, and its host name may resolve to the loopback address."""
    preflight = {"access-control-request-method": "POST"}
    for response in (
        await http.get("/rest/v1/", headers={**headers, "apikey": bare_stack.anon_key}),
        await http.options("/storage/v1/bucket", headers=headers | preflight),
    ):
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    url = f"{bare_stack.api_url.replace('http', 'ws', 1)}/realtime/v1/websocket?apikey={bare_stack.anon_key}"
    # The client sends the host of the URL, and connects to `host`.
    url = url.replace("127.0.0.1", headers.get("host", "127.0.0.1"))
    origin = Origin(headers["origin"]) if "origin" in headers else None
    with pytest.raises(InvalidStatus) as rejected:
        await connect(url, origin=origin, host="127.0.0.1")
    assert rejected.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/rest/v1/x", "/auth/v1/user", "/storage/v1/bucket", "/nothing"])
async def test_websocket_to_a_service_over_http_is_a_client_error(path: str, bare_stack: StackHandle) -> None:
    with pytest.raises(InvalidStatus) as rejected:
        await connect(f"{bare_stack.api_url.replace('http', 'ws', 1)}{path}?apikey={bare_stack.anon_key}")
    assert rejected.value.response.status_code == 403


async def test_openapi_names_the_address_of_the_gateway(http: httpx.AsyncClient, bare_stack: StackHandle) -> None:
    """A generated client must not go past the gateway."""
    document = (await http.get("/rest/v1/", headers={"apikey": bare_stack.secret_key})).json()
    assert (f"http://{document['host']}", document["basePath"]) == (bare_stack.api_url, "/rest/v1")
