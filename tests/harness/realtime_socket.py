"""A plain client of the Realtime protocol, for joins and messages that the official clients would not send."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from websockets.sync.client import ClientConnection, connect

REPLY_TIMEOUT_S = 30


class Socket:
    """A connection to Realtime, protocol 1.0.0, that waits for each reply."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._references = count(1)

    def join(self, topic: str, access_token: str | None = None) -> bool:
        """Join a private channel; return True if the server admits it."""
        return bool(self._join(topic, access_token)["status"] == "ok")

    def subscribe(self, topic: str, access_token: str, bindings: Sequence[dict[str, str]]) -> list[int] | None:
        """Join with postgres_changes; return the id of each binding, None if the server rejects them."""
        reply = self._join(topic, access_token, bindings)
        assert reply["status"] == "ok", reply
        while True:
            message = self._receive()
            if message["event"] == "system" and message["payload"]["extension"] == "postgres_changes":
                ids = [binding["id"] for binding in reply["response"]["postgres_changes"]]
                return ids if message["payload"]["status"] == "ok" else None

    def next_change(self) -> dict[str, Any]:
        """Return the next change of a row."""
        while True:
            message = self._receive()
            if message["event"] == "postgres_changes":
                payload: dict[str, Any] = message["payload"]
                return payload

    def broadcast(self, topic: str, event: str) -> None:
        """Broadcast on a joined channel."""
        self._send(topic, "broadcast", {"type": "broadcast", "event": event, "payload": {}})

    def events_until(self, topic: str, last: str) -> list[str]:
        """Return the names of the broadcasts of a channel up to the one named `last`."""
        events: list[str] = []
        while last not in events:
            message = self._receive()
            if message["event"] == "broadcast" and message["topic"] == f"realtime:{topic}":
                events.append(message["payload"]["event"])
        return events

    def _join(self, topic: str, access_token: str | None, bindings: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
        config = {"private": True, "broadcast": {"self": True, "ack": False}, "presence": {"enabled": False}}
        payload: dict[str, Any] = {"config": {**config, "postgres_changes": list(bindings)}}
        reference = self._send(
            topic, "phx_join", payload if access_token is None else {**payload, "access_token": access_token}
        )
        while True:
            message = self._receive()
            if message["event"] == "phx_reply" and message["ref"] == reference:
                reply: dict[str, Any] = message["payload"]
                return reply

    def _send(self, topic: str, event: str, payload: dict[str, Any]) -> str:
        reference = str(next(self._references))
        message = {"topic": f"realtime:{topic}", "event": event, "payload": payload, "ref": reference}
        self._connection.send(json.dumps({**message, "join_ref": reference if event == "phx_join" else None}))
        return reference

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=REPLY_TIMEOUT_S))
        return message


@contextmanager
def connected(api_url: str, key: str) -> Iterator[Socket]:
    """Open a connection for the block."""
    url = f"{api_url.replace('http', 'ws', 1)}/realtime/v1/websocket?apikey={key}&vsn=1.0.0"
    with connect(url) as connection:
        yield Socket(connection)
