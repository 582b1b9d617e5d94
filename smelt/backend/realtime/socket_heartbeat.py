"""The liveness of one websocket: heartbeats, the replies to them, and other incoming messages."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, ChannelStates
from realtime._async.push import AsyncPush  # The only way to receive the reply to a heartbeat.
from realtime.types import RealtimeAcknowledgementStatus

from smelt.backend.clock import WallClock
from smelt.backend.realtime.policy import Liveness


class SocketHeartbeat:
    """Sends heartbeats and records activity of an open websocket; `on_broken` is called first when it is lost."""

    def __init__(self, client: AsyncRealtimeClient, on_broken: Callable[[Exception | None], None]) -> None:
        self.opened_at = time.monotonic()
        self._received_at = self._heartbeat_at = self.opened_at
        self._is_suspect = False
        self._clock = WallClock()
        # The client routes messages to the channel of their topic. A channel on the protocol's own topic receives the
        # replies to heartbeats, and while it counts as joined, it is the first to be notified of a lost websocket.
        self._channel = AsyncRealtimeChannel(client, "phoenix")
        self._channel.state = ChannelStates.JOINED
        self._channel.subscribe_callback = lambda _, error: on_broken(error)
        client.channels[self._channel.topic] = self._channel

    def liveness(self) -> Liveness:
        """Return the liveness so far."""
        return Liveness(
            self.opened_at, self._received_at, self._heartbeat_at, self._is_suspect, self._clock.ran_ahead_s()
        )

    def record_activity(self) -> None:
        """Record that a message was received."""
        self._received_at = time.monotonic()

    def mark_suspect(self) -> None:
        """Record that the reply to the last heartbeat is late."""
        self._is_suspect = True

    def send(self, timeout_s: int) -> Coroutine[Any, Any, None]:
        """Record a heartbeat as sent now; return the coroutine that sends it."""
        push = AsyncPush(self._channel, "heartbeat", {}, timeout_s)
        push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: self.record_activity())
        self._heartbeat_at = time.monotonic()
        self._is_suspect = False
        return push.send()
