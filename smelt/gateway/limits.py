"""Bounds on what callers may send, and on what runs at a time."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smelt.gateway.errors import BUSY_RETRY_AFTER_S, Problem

FORM_PATHS: Final = frozenset({"/api/smelts", "/v1/audio/transcriptions", "/v1/audio/translations"})
"""The paths that take forms with files, and check their callers before they read a body."""
MAX_BODY_BYTES: Final = 1024 * 1024
"""The largest body without files; a text of 50,000 characters fits."""
BODY_IDLE_TIMEOUT_S: Final = 30.0
"""The longest time without a byte of the body."""
MAX_BODY_S: Final = 60.0
"""The longest time for a body without files."""
MAX_UPLOAD_S: Final = 3600.0
MIN_UPLOAD_BYTES_PER_S: Final = 16 * 1024
"""The longest time for a body with files, and its lowest speed after the first minute."""


def media_type(headers: Headers) -> str:
    """Return the media type of a body, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class BodyLimits:
    """Middleware that bounds the size of a body, and the time in which it arrives.

    A form with files may be larger and take longer; the size of its other parts is bounded where it is parsed. Other
    routes read a body of any media type into memory, before they check its caller.
    """

    def __init__(self, app: ASGIApp, max_upload_bytes: int) -> None:
        self._app = app
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a bounded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        has_files = scope["path"] in FORM_PATHS and media_type(headers) == "multipart/form-data"
        max_bytes = self._max_upload_bytes if has_files else MAX_BODY_BYTES
        announced = headers.get("content-length", "0")
        began_at = time.monotonic()
        received_bytes = 0
        is_complete = False

        def left_s() -> float:
            earned_s = received_bytes / MIN_UPLOAD_BYTES_PER_S if has_files else 0
            return began_at + min(MAX_BODY_S + earned_s, MAX_UPLOAD_S) - time.monotonic()

        async def bounded() -> Message:
            nonlocal received_bytes, is_complete
            if is_complete:
                return await receive()
            if announced.isdigit() and int(announced) > max_bytes:
                raise _too_large(max_bytes)
            try:
                async with asyncio.timeout(min(BODY_IDLE_TIMEOUT_S, left_s())):
                    message = await receive()
            except TimeoutError as exc:
                raise Problem(408, "body_timeout", "The body of the request does not arrive.") from exc
            received_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received_bytes > max_bytes:
                raise _too_large(max_bytes)
            return message

        await self._app(scope, bounded, send)


class Places:
    """Bounds how much runs at a time, in total and for one caller."""

    def __init__(self, what: str, max_count: int, max_per_caller: int) -> None:
        self._what = what
        self._max_count = max_count
        self._max_per_caller = max_per_caller
        self._taken: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """The number of places that are taken."""
        return self._taken.total()

    @contextmanager
    def taken(self, caller: str) -> Iterator[None]:
        """Take a place for the block; raise `Problem` if there is none.

        Args:
            caller: The identity to count by: `Caller.counted_as`.
        """
        if self.count >= self._max_count or self._taken[caller] >= self._max_per_caller:
            raise Problem(429, "too_many_requests", f"Too many {self._what} at a time.", BUSY_RETRY_AFTER_S)
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]


def _too_large(max_bytes: int) -> Problem:
    return Problem(413, "body_too_large", f"The body is larger than {max_bytes} bytes.")


def current_uploads(request: Request) -> Places:
    """Return the places for requests with files."""
    places: Places = request.app.state.uploads
    return places


def current_streams(request: Request) -> Places:
    """Return the places for event streams and for requests that wait for an end."""
    places: Places = request.app.state.streams
    return places


UploadPlaces = Annotated[Places, Depends(current_uploads)]
StreamPlaces = Annotated[Places, Depends(current_streams)]
