"""The Realtime protocol by hand, for what the clients would not do: join what is refused, send what is forbidden."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from websockets.sync.client import ClientConnection, connect

REPLY_TIMEOUT_S = 30


class Socket:
    """A connection to Realtime, protocol 1.0.0, that waits for each answer."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._references = count(1)

    def join(self, topic: str, access_token: str | None = None) -> bool:
        """Join a private channel; answer whether the server let us."""
        return bool(self._join(topic, access_token)["status"] == "ok")

    def subscribe(self, topic: str, access_token: str, wishes: Sequence[dict[str, str]]) -> list[int] | None:
        """Join with postgres_changes; returns the id of each wish, None if the server does not fulfill them."""
        answer = self._join(topic, access_token, wishes)
        assert answer["status"] == "ok", answer
        while True:
            message = self._receive()
            if message["event"] == "system" and message["payload"]["extension"] == "postgres_changes":
                ids = [wish["id"] for wish in answer["response"]["postgres_changes"]]
                return ids if message["payload"]["status"] == "ok" else None

    def next_change(self) -> dict[str, Any]:
        """The next change of a row."""
        while True:
            message = self._receive()
            if message["event"] == "postgres_changes":
                payload: dict[str, Any] = message["payload"]
                return payload

    def broadcast(self, topic: str, event: str) -> None:
        """Send on a channel that was joined."""
        self._send(topic, "broadcast", {"type": "broadcast", "event": event, "payload": {}})

    def events_until(self, topic: str, last: str) -> list[str]:
        """The names of the broadcasts of a channel up to the one named `last`."""
        events: list[str] = []
        while last not in events:
            message = self._receive()
            if message["event"] == "broadcast" and message["topic"] == f"realtime:{topic}":
                events.append(message["payload"]["event"])
        return events

    def _join(self, topic: str, access_token: str | None, wishes: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
        config = {"private": True, "broadcast": {"self": True, "ack": False}, "presence": {"enabled": False}}
        payload: dict[str, Any] = {"config": {**config, "postgres_changes": list(wishes)}}
        reference = self._send(
            topic, "phx_join", payload if access_token is None else {**payload, "access_token": access_token}
        )
        while True:
            message = self._receive()
            if message["event"] == "phx_reply" and message["ref"] == reference:
                answer: dict[str, Any] = message["payload"]
                return answer

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
    """A connection that closes with the block."""
    url = f"{api_url.replace('http', 'ws', 1)}/realtime/v1/websocket?apikey={key}&vsn=1.0.0"
    with connect(url) as connection:
        yield Socket(connection)
