"""The official Realtime client, used as its documentation shows: the reference of a benchmark."""

import time

from realtime import AsyncRealtimeClient


class OfficialClient:
    """A connection to one private channel."""

    def __init__(self, url: str, key: str, token: str, topic: str) -> None:
        self._client = AsyncRealtimeClient(f"{url}/realtime/v1", key)
        self._token = token
        self._topic = topic
        self._received_at = 0.0

    async def start(self) -> None:
        """Join the channel."""
        await self._client.connect()
        await self._client.set_auth(self._token)
        channel = self._client.channel(self._topic, {"config": {"private": True, "broadcast": None, "presence": None}})
        channel.on_broadcast("*", self._receive)
        await channel.subscribe()

    def received_since(self, moment: float) -> bool:
        """Return True if an event arrived after a moment."""
        return self._received_at > moment

    async def stop(self) -> None:
        """Close the connection, in any state."""
        await self._client.close()

    def _receive(self, _: object) -> None:
        self._received_at = time.monotonic()
