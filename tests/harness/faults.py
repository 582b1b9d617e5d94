"""Faults of the connection between a client and Realtime, for tests and benchmarks."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

from websockets.frames import OP_BINARY, OP_CLOSE, OP_TEXT, Close, Frame

from tests.harness.proxies import FaultyProxy, Kind

SLEEP_S: Final = 3600.0
MALFORMED: Final = (
    Frame(OP_TEXT, b"no JSON"),
    Frame(OP_TEXT, b"[1, 2]"),
    Frame(OP_TEXT, b'{"topic": "phoenix", "event": "phx_reply", "payload": 1, "ref": null}'),
    Frame(OP_TEXT, b""),
    Frame(OP_BINARY, b"\x04\xff\x00"),
)

Topics = Sequence[str]
Inject = Callable[[FaultyProxy, Topics], AbstractAsyncContextManager[None]]
Act = Callable[[FaultyProxy, Topics], None]


@dataclass(frozen=True)
class Fault:
    """A fault that starts and ends with the context of `inject`, unless it is momentary.

    `breaks`: channels must be joined again afterwards. `revokes_access`: a watch ends with an error. `alone`: the fault
    affects the whole process. `lasts_s` is its duration in a benchmark; 0 for a momentary one.
    """

    inject: Inject
    breaks: bool = True
    revokes_access: bool = False
    alone: bool = False
    lasts_s: float = 0.0


@asynccontextmanager
async def restarting(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
    """The server announces a restart, is unavailable for a while, and returns."""
    proxy.inject(closing(1012))
    await proxy.stop()
    yield
    await proxy.start()


@asynccontextmanager
async def blackholed(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
    """No bytes pass, also on new connections; connections of that time stay half-open afterwards."""
    proxy.stall()
    yield
    proxy.make_half_open()
    proxy.heal()


@asynccontextmanager
async def stalled(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
    """No bytes pass for a time too short to be detected; then all of them do."""
    proxy.stall("realtime")
    yield
    proxy.heal()


@asynccontextmanager
async def waking_from_sleep(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
    """The machine wakes from sleep: its connections are half-open, and the wall clock has advanced."""
    proxy.make_half_open()
    real = time.time
    with patch("time.time", lambda: real() + SLEEP_S):
        yield


def rejecting(*kinds: Kind) -> Inject:
    """Return a fault: connections are reset for a while, including new ones."""

    @asynccontextmanager
    async def inject(proxy: FaultyProxy, _: Topics) -> AsyncIterator[None]:
        proxy.reject(*kinds)
        yield
        proxy.heal()

    return inject


def immediate(act: Act) -> Inject:
    """Return a momentary fault."""

    @asynccontextmanager
    async def inject(proxy: FaultyProxy, topics: Topics) -> AsyncIterator[None]:
        act(proxy, topics)
        yield

    return inject


def sending_frame(frame: Frame) -> Inject:
    """Return a fault: the server sends a frame."""
    return immediate(lambda proxy, _: proxy.inject(frame))


def sending_messages(*messages: tuple[str, object]) -> Inject:
    """Return a fault: the server sends messages, events with payloads, on each channel."""

    def act(proxy: FaultyProxy, topics: Topics) -> None:
        for topic in topics:
            for event, payload in messages:
                proxy.send_message(topic, event, payload)

    return immediate(act)


def malformed(proxy: FaultyProxy, topics: Topics) -> None:
    """Send unreadable frames, and events with invalid payloads."""
    for frame in MALFORMED:
        proxy.inject(frame)
    for topic in topics:
        for event in ("progress", "segments", "completed"):
            proxy.send_message(topic, "broadcast", {"type": "broadcast", "event": event, "payload": {"seq": "high"}})


def system_error(reason: str) -> tuple[str, object]:
    """Return the message by which the server reports an error of a channel."""
    return "system", {"status": "error", "message": reason, "extension": "system", "channel": "smelt"}


def closing(code: int) -> Frame:
    """Return a close frame of the server."""
    return Frame(OP_CLOSE, Close(code, "").serialize())


FAULTS: Final[dict[str, Fault]] = {
    "rejected": Fault(rejecting("realtime"), lasts_s=10),
    "reset": Fault(immediate(lambda proxy, _: proxy.cut())),
    "half-open": Fault(immediate(lambda proxy, _: proxy.make_half_open())),
    "blackholed": Fault(blackholed, lasts_s=60),
    "server restart": Fault(restarting, lasts_s=3),
    "close 1000": Fault(sending_frame(closing(1000))),
    "close 1001": Fault(sending_frame(closing(1001))),
    "close 1006": Fault(immediate(lambda proxy, _: proxy.cut("realtime"))),
    "close 1009": Fault(sending_frame(closing(1009))),
    "close 1011": Fault(sending_frame(closing(1011))),
    "close 1012": Fault(sending_frame(closing(1012))),
    "phx_close": Fault(sending_messages(("phx_close", {}))),
    "phx_error": Fault(sending_messages(("phx_error", {"reason": "crashed"}))),
    "system error": Fault(sending_messages(system_error("went wrong"))),
    "rate limit": Fault(sending_messages(system_error("Too many messages per second"), ("phx_close", {}))),
    "expired token": Fault(sending_messages(system_error("Token has expired 0 seconds ago"), ("phx_close", {}))),
    "frame over 1 MiB": Fault(sending_frame(Frame(OP_TEXT, b"x" * (1 << 21)))),
    "malformed frames": Fault(immediate(malformed), breaks=False),
    "no UTF-8": Fault(sending_frame(Frame(OP_TEXT, b"\xff\xfe"))),
    "stalled socket": Fault(stalled, breaks=False, lasts_s=3),
    "wake from sleep": Fault(waking_from_sleep, alone=True),
    "PostgREST gone": Fault(rejecting("rest"), breaks=False, lasts_s=30),
}
