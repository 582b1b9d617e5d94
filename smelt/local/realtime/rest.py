"""The HTTP API: broadcasts of one or many messages, and endpoints for operators."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from smelt.local.http import read_bounded
from smelt.local.realtime.authorization import DatabaseUnavailable, RealtimeCaller
from smelt.local.realtime.hub import ChannelKey
from smelt.local.realtime.rates import EventRate
from smelt.local.realtime.requests import (
    BatchMessage,
    InvalidJson,
    InvalidMessages,
    parse_batch,
    parse_json,
    private_topics,
    single_message,
)
from smelt.local.realtime.server import Realtime
from smelt.local.realtime.tokens import InvalidRealtimeToken, Token, check_token
from smelt.pickling import PicklableError

Endpoint = Callable[[Request], Awaitable[Response]]

_STATUSES_WITHOUT_RATE: Final = frozenset({400, 404, 413, 415})
_TICK_S: Final = 5.0
_SERVICE_ROLE: Final = "service_role"


class BroadcastApi:
    """The endpoints of the HTTP API."""

    def __init__(self, realtime: Realtime) -> None:
        self._realtime = realtime
        self._options = realtime.options
        self._requests = EventRate(_TICK_S)

    def counted(self, endpoint: Endpoint) -> Endpoint:
        """Wrap an endpoint to count its requests and report their rate in headers, as on the platform."""

        async def counted(request: Request) -> Response:
            now = time.monotonic()
            self._requests.count(1, now)
            response = await endpoint(request)
            limit = self._options.max_events_per_s
            if limit is not None and response.status_code not in _STATUSES_WITHOUT_RATE:
                rolling = int(self._requests.per_s(now))
                response.headers["x-rate-limit"] = str(limit)
                response.headers["x-rate-rolling"] = str(rolling)
                response.headers["x-rate-limit-remaining"] = str(limit - rolling)
            return response

        return counted

    async def ping(self, request: Request) -> Response:
        """Report that the server is up."""
        return JSONResponse({"message": "Success"})

    async def health(self, request: Request) -> Response:
        """Report the connections to an operator."""
        if not self._is_operator(request):
            return Response(status_code=403)
        realtime = self._realtime
        data = {
            "node": "realtime@127.0.0.1",
            "region": "local",
            "replication_connected": realtime.is_replicating,
            "healthy": True,
            "db_connected": realtime.is_replicating,
            "connected_cluster": len(realtime.sockets),
        }
        return JSONResponse({"data": data})

    async def disconnect_all(self, request: Request) -> Response:
        """Close all sockets; clients reconnect. Requires the service key."""
        if not self._is_operator(request):
            return Response(status_code=403)
        self._realtime.disconnect_all()
        return Response(status_code=204)

    async def shut_down(self, request: Request) -> Response:
        """Do nothing: the platform closes its database connections, which joined channels do not notice."""
        return Response(status_code=204 if self._is_operator(request) else 403)

    async def broadcast_batch(self, request: Request) -> Response:
        """Send many messages; those to private channels without permission are silently dropped."""
        try:
            body = await self._read(request)
            caller = self._caller(request)
            is_json = _media_type(request) == "application/json"
            messages = parse_batch(parse_json(body) if is_json else {}, self._options.max_broadcast_bytes)
        except _EarlyResponse as early:
            return early.response
        except InvalidJson:
            return HTMLResponse("Bad Request", 400)
        except InvalidMessages as invalid:
            return JSONResponse({"errors": {"messages": invalid.errors}}, 422)
        if self._realtime.hub.is_over_limit():
            return _too_many("You have exceeded your rate limit")
        if self._realtime.hub.is_over_limit(len(messages)):
            return _too_many("Too many messages to broadcast, please reduce the batch size")
        await self._send(caller, messages)
        return Response(status_code=202)

    async def broadcast_one(self, request: Request) -> Response:
        """Send the body as the payload of one message; 403 without permission."""
        private = request.query_params.get("private") == "true"
        key = ChannelKey(request.path_params["topic"], private)
        try:
            body = await self._read(request)
            is_json = _is_json(request)
            caller = self._caller(request)
            message = single_message(key, request.path_params["event"], body, is_json=is_json)
        except _EarlyResponse as early:
            return early.response
        except InvalidJson:
            return HTMLResponse("Bad Request", 400)
        if len(message.payload) > self._options.max_broadcast_bytes:
            return JSONResponse({"errors": {"payload": ["Payload size exceeds tenant limit"]}}, 422)
        if self._realtime.hub.is_over_limit():
            return _too_many("You have exceeded your rate limit")
        if private and not await self._may_send(caller, key.name):
            return JSONResponse({"message": "Unauthorized"}, 403)
        self._realtime.hub.send(key, message)
        return Response(status_code=202)

    async def _send(self, caller: RealtimeCaller, messages: list[BatchMessage]) -> None:
        allowed = {topic for topic in private_topics(messages) if await self._may_send(caller, topic)}
        for message in messages:
            if not message.key.private or message.key.name in allowed:
                self._realtime.hub.send(message.key, message.message)

    async def _may_send(self, caller: RealtimeCaller, topic: str) -> bool:
        try:
            return await self._realtime.authorization.writable(caller, topic, "broadcast")
        except DatabaseUnavailable:
            return False

    def _caller(self, request: Request) -> RealtimeCaller:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        keys = self._options.keys
        # `sb_...` keys are not bearer tokens; on the platform, the gateway replaces them.
        text = bearer if scheme.lower() == "bearer" and not bearer.startswith("sb_") else None
        try:
            token = self._check(text or keys.to_token(request.headers.get("apikey", "")))
            return RealtimeCaller(token, dict(request.headers.items()))
        except InvalidRealtimeToken as error:
            raise _EarlyResponse(JSONResponse({"message": "Unauthorized"}, 401)) from error

    def _is_operator(self, request: Request) -> bool:
        try:
            return self._caller(request).token.role == _SERVICE_ROLE
        except _EarlyResponse:
            return False

    def _check(self, text: str) -> Token:
        return check_token(self._options.keys, text, time.time())

    async def _read(self, request: Request) -> bytes:
        try:
            return await read_bounded(request, self._options.max_request_bytes, _too_large)
        except ClientDisconnect as error:
            raise _EarlyResponse(Response(status_code=400)) from error


class _EarlyResponse(PicklableError):
    """Carries a response that ends the handling of a request early."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def _too_large() -> _EarlyResponse:
    return _EarlyResponse(HTMLResponse("Request Entity Too Large", 413))


def _too_many(sentence: str) -> Response:
    return JSONResponse({"message": sentence}, 429)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(request: Request) -> bool:
    match _media_type(request):
        case "application/json":
            return True
        case "application/octet-stream":
            return False
        case _:
            sentence = "Unsupported Media Type. Use application/json or application/octet-stream"
            raise _EarlyResponse(JSONResponse({"error": sentence}, 415))
