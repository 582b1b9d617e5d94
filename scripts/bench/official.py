"""The official Realtime client as its documentation has it, for a benchmark to compare with."""

import time

from realtime import AsyncRealtimeClient


class Official:
    """Listens to one private channel."""

    def __init__(self, url: str, key: str, token: str, topic: str) -> None:
        self._client = AsyncRealtimeClient(f"{url}/realtime/v1", key)
        self._token = token
        self._topic = topic
        self._heard_at = 0.0

    async def start(self) -> None:
        """Join the channel."""
        await self._client.connect()
        await self._client.set_auth(self._token)
        channel = self._client.channel(self._topic, {"config": {"private": True, "broadcast": None, "presence": None}})
        channel.on_broadcast("*", self._hear)
        await channel.subscribe()

    def heard_since(self, moment: float) -> bool:
        """True once an event came after a moment."""
        return self._heard_at > moment

    async def stop(self) -> None:
        """Close it, in whatever state it is."""
        await self._client.close()

    def _hear(self, _: object) -> None:
        self._heard_at = time.monotonic()
