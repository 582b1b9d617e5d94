"""The signs of life of one websocket: heartbeats, the answers to them, and whatever else comes in."""

import time
from collections.abc import Callable, Coroutine
from typing import Any

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, ChannelStates
from realtime._async.push import AsyncPush  # The only way to see the answer to a heartbeat.
from realtime.types import RealtimeAcknowledgementStatus

from smelt.backend.clock import WallClock
from smelt.backend.realtime.policy import Liveness


class SocketHeartbeat:
    """Feels the pulse of an open websocket; `on_broken` is told first when it breaks."""

    def __init__(self, client: AsyncRealtimeClient, on_broken: Callable[[Exception | None], None]) -> None:
        self.opened_at = time.monotonic()
        self._heard_at = self._beat_at = self.opened_at
        self._is_doubted = False
        self._clock = WallClock()
        # The client routes what it receives to the channel of the topic. One on the protocol's own topic hears the
        # answers to heartbeats, and while it counts as joined it is told first when the websocket breaks.
        self._channel = AsyncRealtimeChannel(client, "phoenix")
        self._channel.state = ChannelStates.JOINED
        self._channel.subscribe_callback = lambda _, error: on_broken(error)
        client.channels[self._channel.topic] = self._channel

    def vitals(self) -> Liveness:
        """The signs of life so far."""
        return Liveness(self.opened_at, self._heard_at, self._beat_at, self._is_doubted, self._clock.ran_ahead_s())

    def feel(self) -> None:
        """Something was heard."""
        self._heard_at = time.monotonic()

    def doubt(self) -> None:
        """The last heartbeat should have been answered by now."""
        self._is_doubted = True

    def beat(self, timeout_s: int) -> Coroutine[Any, Any, None]:
        """A heartbeat as of now; answers what sends it."""
        push = AsyncPush(self._channel, "heartbeat", {}, timeout_s)
        push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: self.feel())
        self._beat_at = time.monotonic()
        self._is_doubted = False
        return push.send()
