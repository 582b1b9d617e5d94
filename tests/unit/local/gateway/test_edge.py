"""The gateway's layers in front of the services."""

import asyncio
import logging
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from smelt.local.gateway.edge.api_keys import ApiKeys
from smelt.local.gateway.edge.error_logging import LogServerErrors
from smelt.local.gateway.edge.loopback import LoopbackOnly, origin_of
from smelt.local.gateway.edge.rest_proxy import RestProxy, Upstream
from smelt.local.keys import Keys

KEYS = Keys()


async def _show_token(scope: Scope, receive: Receive, send: Send) -> None:
    authorization = Request(scope).headers.getlist("authorization")
    await JSONResponse(authorization)(scope, receive, send)


async def _get(app: ASGIApp, url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stack") as client:
        return await client.get(url, headers=headers)


@pytest.mark.parametrize(
    ("url", "headers", "status", "message"),
    [
        ("/", {}, 401, "No API key found in request"),
        ("/", {"apikey": ""}, 401, "No API key found in request"),
        ("/", {"apikey": "wrong"}, 401, "Invalid API key"),
        ("/?apikey=wrong", {}, 401, "Invalid API key"),
        ("/open", {}, 200, None),
        (f"/?apikey={KEYS.publishable_key}", {}, 200, None),
        ("/", {"apikey": KEYS.anon_key}, 200, None),
    ],
)
async def test_api_key_check_admits_known_keys_and_open_paths(
    url: str, headers: dict[str, str], status: int, message: str | None
) -> None:
    """Requests with a key of this stack, or to a path without a key, are admitted."""
    app = ApiKeys(_show_token, KEYS, required=True, keyless_paths=("/open",))
    response = await _get(app, url, headers)
    assert response.status_code == status
    if message is not None:
        assert response.json()["message"] == message


async def test_api_key_that_is_unknown_grants_no_token() -> None:
    """An unknown key is ignored if none is required."""
    app = ApiKeys(_show_token, KEYS, required=False)
    assert (await _get(app, "/", {"apikey": KEYS.sign({"role": "service_role"})})).json() == []
    both = {"apikey": KEYS.secret_key, "authorization": "Bearer sb_secret_x"}
    assert (await _get(app, "/", both)).json() == [f"Bearer {KEYS.service_role_key}"]


async def test_error_after_a_complete_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The connection stays open."""

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("sorry", 500)(scope, receive, send)
        raise RuntimeError("why")

    with caplog.at_level(logging.ERROR):
        response = await _get(LogServerErrors(failing), "/path")
    assert (response.status_code, response.text) == (500, "sorry")
    assert "GET /path failed" in caplog.text
    assert "RuntimeError: why" in caplog.text


@pytest.mark.parametrize("begun", [True, False])
async def test_error_without_a_complete_response_is_raised(begun: bool) -> None:
    """An incomplete response must close the connection."""

    async def failing(scope: Scope, receive: Receive, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("why")

    with pytest.raises(RuntimeError, match="why"):
        await _get(LogServerErrors(failing), "/")


async def test_head_request_is_followed_by_a_new_connection() -> None:
    """PostgREST closes the connection after a HEAD without announcing it: the next request must use another one."""
    served: list[asyncio.Task[None] | None] = []

    async def response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\n" + (b"" if request.startswith(b"HEAD") else b"content-length: 0\r\n") + b"\r\n"
        )
        # Any further request on this connection fails.
        await reader.read(1)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(response, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Upstream(url) as upstream:
            for method in ("HEAD", "GET"):
                response = await upstream.send(method)
                assert response.status_code == 200
                await response.aread()
        await asyncio.gather(*filter(None, served))
    assert len(served) == 2


@pytest.mark.parametrize(
    ("headers", "is_accepted"),
    [
        ({}, True),
        ({"host": "127.0.0.1:54321", "origin": "http://localhost:3000"}, True),
        ({"host": "[::1]:54321", "origin": "http://[::1]"}, True),
        ({"host": "app.localhost", "origin": "capacitor://localhost"}, True),
        ({"host": "127.8.9.1"}, True),
        ({"host": "tunnel.example", "origin": "https://app.example"}, True),
        ({"origin": "https://app.example:8443"}, False),
        ({"origin": "http://app.example"}, False),
        ({"origin": "https://localhost.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
        ({"host": "evil.example"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": "evil.example:54321", "origin": "http://localhost"}, False),
    ],
)
async def test_loopback_only_accepts_this_machine_and_what_the_project_allows(
    headers: dict[str, str], is_accepted: bool
) -> None:
    app = LoopbackOnly(Response(), hosts=["tunnel.example"], origins=["https://app.example"])
    response = await _get(app, "/", {"host": "localhost", **headers})
    assert response.status_code == (200 if is_accepted else 403)
    assert (await _get(LoopbackOnly(Response(), hosts=["*"], origins=["*"]), "/", headers)).status_code == 200


def test_origin_of_the_site_is_that_of_its_url() -> None:
    assert origin_of("https://app.example:8443/path?x") == "https://app.example:8443"


async def test_address_of_a_visitor_is_set_by_the_gateway() -> None:
    """A client that sends the header itself is counted by its address all the same."""
    received: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Upstream(f"http://127.0.0.1:{port}") as upstream:
            await _get(RestProxy(upstream, 1000), "/", {"CF-Connecting-IP": "192.0.2.9"})
    [headers] = [line for line in received[0].lower().split(b"\r\n") if line.startswith(b"cf-connecting-ip")]
    assert headers == b"cf-connecting-ip: 127.0.0.1"
