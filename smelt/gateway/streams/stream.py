"""One event stream: opening, frames, comments, permission checks, drain."""

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from typing import Final

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from smelt.backend.waiting import wait_for_event
from smelt.errors import SmeltError, TransientError, Unauthorized
from smelt.gateway.callers import SERVICE, Caller
from smelt.gateway.errors import RETRY_AFTER_S, Problem
from smelt.gateway.streams import frames
from smelt.gateway.streams.hub import Hub

logger = logging.getLogger(__name__)

COMMENT_INTERVAL_S: Final = 15.0
CHECK_INTERVAL_S: Final = 300.0
CHECK_RETRY_S: Final = 30.0
"""After a check without a response, and at least between two checks."""
READ_RETRY_S: Final = 3.0
REJOIN_DELAY_S: Final = 1.0
"""After a source has failed for another reason than the permission of the reader."""
SEND_TIMEOUT_S: Final = 60.0
"""A reader that takes nothing for this time is gone."""
MAX_DRAIN_RETRY_MS: Final = 3000
"""Readers of a gateway that stops reconnect within this time, not all at once."""


class Stream(ABC):
    """One stream of one caller.

    Args:
        hub: Shares the sources.
        caller: Who reads; the stream is authorized by calls with exactly this credential.
    """

    heartbeat_interval_s: float | None = None

    def __init__(self, hub: Hub, caller: Caller) -> None:
        self.hub = hub
        self.caller = caller
        self.changed = asyncio.Event()

    @abstractmethod
    async def authorize(self) -> bool:
        """Check with a call of the caller that it may read; return False if there is nothing to read any more.

        Called before the response starts, and from time to time; raises a `SmeltError`.
        """

    @abstractmethod
    def opening(self) -> bytes:
        """Return the first frame."""

    @abstractmethod
    def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield frames to the end; None if there is nothing to send until `changed` is set."""

    def heartbeat(self) -> bytes:
        """Return the frame that is sent every `heartbeat_interval_s`, if that is set."""
        return frames.comment()

    def closing(self) -> bytes:
        """Return the last frame of a stream that the drain ends."""
        return frames.retry(random.randint(MAX_DRAIN_RETRY_MS // 3, MAX_DRAIN_RETRY_MS))

    def error(self, reason: SmeltError) -> bytes:
        """Return the last frame of a stream that an error ends."""
        return frames.error(reason, has_expired=self.caller.has_expired)

    @contextmanager
    def timer(self, seconds: float) -> Iterator[Callable[[], bool]]:
        """Set `changed` after some seconds; yield a function that returns True from then on."""
        due_at = time.monotonic() + seconds
        handle = asyncio.get_running_loop().call_later(seconds, self.changed.set)
        try:
            yield lambda: time.monotonic() >= due_at
        finally:
            handle.cancel()

    async def rejoin(self) -> AsyncGenerator[None, None]:
        """Yield until a source that has failed may be joined again; raise if the caller may no longer read."""
        delay_s = REJOIN_DELAY_S
        while True:
            with self.timer(delay_s) as is_over:
                while not is_over():
                    yield None
            try:
                await self.authorize()
            except TransientError:
                delay_s = READ_RETRY_S
            else:
                return

    async def sent(self) -> AsyncGenerator[bytes, None]:
        """Yield all that is sent: the opening, the frames, comments while there are none, an error at the end."""
        yield frames.retry() + self.opening()
        try:
            with self.hub.waking(self.changed):
                async with aclosing(self.frames()) as source:
                    clock = _Clock(self)
                    while not self.hub.is_draining:
                        self.changed.clear()
                        frame = await anext(source, b"")
                        if frame == b"":
                            return
                        frame = frame or await self._wait(clock)
                        if frame is not None:
                            yield frame
                            clock.record_sent()
                        if clock.is_check_due:
                            await self._check(clock)
            yield self.closing()
        except SmeltError as exc:
            yield self.error(exc)

    async def _wait(self, clock: "_Clock") -> bytes | None:
        """Wait until there may be something to send or to check; return a comment or heartbeat that is due."""
        await wait_for_event(self.changed, clock.wait_s())
        if clock.is_heartbeat_due:
            clock.record_heartbeat()
            return self.heartbeat()
        return frames.comment() if clock.is_comment_due else None

    async def _check(self, clock: "_Clock") -> None:
        if self.caller.smelt_id is not None and self.caller.has_expired:
            # The calls for a read-only token are made with the secret key, which does not expire.
            raise Unauthorized("the read-only token has expired")
        try:
            await self.authorize()
        except TransientError as exc:
            logger.info("a stream is checked again in %.0f s: %s", CHECK_RETRY_S, exc)
            clock.schedule_check(CHECK_RETRY_S)
        else:
            clock.schedule_check(CHECK_INTERVAL_S)


class UserStream(Stream):
    """A stream of what a signed-in user owns."""

    async def authorize(self) -> bool:
        """Check the token; the service owns nothing."""
        if self.caller.identity == SERVICE:
            raise Problem(403, "forbidden", "Sign in as a user: the service owns nothing.")
        await self.caller.check()
        return True


class _Clock:
    """When a stream sends something by itself, and checks its permission."""

    def __init__(self, stream: Stream) -> None:
        now = time.monotonic()
        self._expires_at = stream.caller.expires_at
        self._heartbeat_s = stream.heartbeat_interval_s
        self._heartbeat_at = float("inf") if self._heartbeat_s is None else now + self._heartbeat_s
        self._comment_at = now + COMMENT_INTERVAL_S
        self._check_at = now
        self.schedule_check(CHECK_INTERVAL_S)

    @property
    def is_comment_due(self) -> bool:
        return time.monotonic() >= self._comment_at

    @property
    def is_heartbeat_due(self) -> bool:
        return time.monotonic() >= self._heartbeat_at

    @property
    def is_check_due(self) -> bool:
        return time.monotonic() >= self._check_at

    def wait_s(self) -> float:
        return max(0.0, min(self._comment_at, self._heartbeat_at, self._check_at) - time.monotonic())

    def record_sent(self) -> None:
        self._comment_at = time.monotonic() + COMMENT_INTERVAL_S

    def record_heartbeat(self) -> None:
        self._heartbeat_at += self._heartbeat_s or 0.0

    def schedule_check(self, in_s: float) -> None:
        if self._expires_at is not None:
            # Once it has expired, only a clock that differs from that of the project lets a check succeed.
            left_s = self._expires_at - time.time()
            in_s = min(in_s, left_s if left_s > 0 else CHECK_RETRY_S)
        self._check_at = time.monotonic() + in_s


class StreamResponse(StreamingResponse):
    """The response with a stream; ends it as soon as the reader is gone, or takes nothing for `SEND_TIMEOUT_S`."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, held: ExitStack) -> None:
        self._sent = stream.sent()
        self._held = held
        super().__init__(self._sent, headers=frames.HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and release its place."""
        with self._held:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the stream, and close it in any case."""
        async with aclosing(self._sent):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for frame in self._sent:
                try:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
                except TimeoutError:
                    logger.info("a reader of a stream took nothing for %.0f s", SEND_TIMEOUT_S)
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def respond(request: Request, stream: Stream) -> Response:
    """Return the response with a stream once the caller is authorized; 204 if there is nothing to read any more.

    An `EventSource` stops for good at any status but 200. So a reader that accepts event streams alone gets, in place
    of an error with `Retry-After`, a stream that ends at once with the hint when to reconnect.
    """
    try:
        with ExitStack() as held:
            held.enter_context(stream.hub.admitted(stream.caller))
            if await _authorize(stream, request.app.state.drain):
                return StreamResponse(stream, held.pop_all())
        return Response(status_code=204)
    except (Problem, TransientError) as exc:
        code, delay_s = (exc.code, exc.retry_after_s) if isinstance(exc, Problem) else ("unavailable", RETRY_AFTER_S)
        if delay_s is None or request.headers.get("accept") != StreamResponse.media_type:
            raise
        logger.info("a reader reconnects after %s s: %s", delay_s, exc)
        request.app.state.metrics.count_postponed_stream(code)
        delay_ms = random.randint(delay_s * 1000, delay_s * 2000)
        return Response(
            frames.comment(code) + frames.retry(delay_ms), media_type=StreamResponse.media_type, headers=frames.HEADERS
        )


async def _authorize(stream: Stream, drain: asyncio.Event) -> bool:
    """Authorize a stream; raise `Problem` if the gateway stops before the project has responded.

    At the end of the drain the request would be cancelled, and get an error in place of the hint.
    """
    authorizing = asyncio.create_task(stream.authorize())
    draining = asyncio.create_task(drain.wait())
    try:
        await asyncio.wait((authorizing, draining), return_when=asyncio.FIRST_COMPLETED)
        if not authorizing.done():
            raise Problem(503, "stopping", "The gateway stops.", RETRY_AFTER_S)
        return authorizing.result()
    finally:
        authorizing.cancel()
        draining.cancel()
        await asyncio.gather(authorizing, draining, return_exceptions=True)
