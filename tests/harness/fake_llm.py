"""A fake language model: an endpoint with OpenAI's protocol whose responses a test defines."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Responder = Callable[[list[dict[str, str]]], "str | Response"]


@dataclass
class FakeLlm:
    """Responds with the result of `responder` for the messages of a request; records conversations and keys."""

    responder: Responder
    base_url: str = ""
    conversations: list[list[dict[str, str]]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        assert body["stream"] is True
        self.conversations.append(body["messages"])
        self.keys.append(request.headers["authorization"])
        made = self.responder(body["messages"])
        return made if isinstance(made, Response) else streamed_response(made)


def streamed_response(text: str, finish_reason: str | None = "stop", *, piece_characters: int = 20) -> Response:
    """Return a response in pieces."""
    pieces = [text[start : start + piece_characters] for start in range(0, len(text), piece_characters)]
    choices: list[dict[str, Any]] = [{"delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    choices.append({"delta": {}, "finish_reason": finish_reason})
    lines = [_line(choice) for choice in choices]
    return StreamingResponse(iter([*lines, "data: [DONE]\n\n"]), media_type="text/event-stream")


def delayed_response(responder: Awaitable[str]) -> Response:
    """Return a response that is sent once `responder` is done."""

    async def pieces() -> AsyncIterator[str]:
        yield await responder

    return paced_response(pieces())


def paced_response(pieces: AsyncIterator[str]) -> Response:
    """Return a response whose pieces are sent as they are made."""

    async def lines() -> AsyncIterator[str]:
        async for piece in pieces:
            yield _line({"delta": {"content": piece}, "finish_reason": None})
        yield _line({"delta": {}, "finish_reason": "stop"})

    return StreamingResponse(lines(), media_type="text/event-stream")


def endless_response(text: str, status: int = 200) -> Response:
    """Return a response that repeats a part of a stream until the client disconnects."""

    async def lines() -> AsyncIterator[str]:
        while True:
            yield text
            # Sending does not suspend once the client has disconnected.
            await asyncio.sleep(0)

    return StreamingResponse(lines(), status, media_type="text/event-stream")


def chunk_line(delta: dict[str, str]) -> str:
    """Return a chunk of a stream."""
    return _line({"delta": delta, "finish_reason": None})


def interrupted_response(text: str) -> Response:
    """Return a response whose connection is lost after its first piece."""

    async def pieces() -> AsyncIterator[str]:
        yield _line({"delta": {"content": text}, "finish_reason": None})
        raise ConnectionAbortedError

    return StreamingResponse(pieces(), media_type="text/event-stream")


def error_response(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error in the format of OpenAI."""
    return JSONResponse({"error": {"message": "no", "type": code, "code": code}}, status, headers)


@asynccontextmanager
async def serving(responder: Responder) -> AsyncIterator[FakeLlm]:
    """Serve the endpoint during the block."""
    model = FakeLlm(responder)
    app = Starlette(
        routes=[Route("/v1/chat/completions", model.complete, methods=["POST"]), Route("/v1/models", _models)]
    )
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        model.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield model
        finally:
            server.should_exit = True
            await task


async def _models(_: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "me"}]})


def _line(choice: dict[str, Any]) -> str:
    chunk = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, **choice}],
    }
    return f"data: {json.dumps(chunk)}\n\n"
