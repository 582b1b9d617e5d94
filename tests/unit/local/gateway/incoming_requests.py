"""Requests as a server passes them to an application, with their bodies in chunks."""

from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.types import Message


def request(
    pieces: Iterable[bytes] = (), *, method: str = "POST", path: str = "/", headers: Mapping[str, str] | None = None
) -> Request:
    """Return a request whose body arrives in these chunks."""
    waiting = [*pieces]

    async def receive() -> Message:
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": raw,
    }
    return Request(scope, receive)
