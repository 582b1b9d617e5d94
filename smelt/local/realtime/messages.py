"""Broadcasts from the database: rows of `realtime.messages`, live from the WAL or replayed."""

import json
from collections.abc import Mapping
from typing import Final

from smelt.local.realtime.authorization import Pool
from smelt.local.realtime.hub import ChannelKey
from smelt.local.realtime.join import Replay
from smelt.local.realtime.protocol import TOPIC_PREFIX, Json, Push, UserBroadcast, dump

_BINARY: Final = "binary_payload"
_REPLAY: Final = """
select id::text, event, payload::text, binary_payload
from realtime.messages
where topic = %(topic)s and extension = 'broadcast' and private
  and inserted_at >= to_timestamp(%(since_ms)s / 1000.0) at time zone 'utc'
order by inserted_at desc, ctid desc
limit %(limit)s
"""
_PURGE: Final = "delete from realtime.messages where inserted_at < (now() at time zone 'utc') - %s * interval '1 hour'"


def live_broadcast(row: Mapping[str, str | None]) -> tuple[ChannelKey, str, UserBroadcast] | None:
    """Return the channel, id and message of an inserted row; None for a row that is not a broadcast."""
    topic, event, message_id = row.get("topic"), row.get("event"), row.get("id")
    payload, binary = row.get("payload"), row.get(_BINARY)
    if row.get("extension") != "broadcast" or topic is None or event is None or message_id is None:
        return None
    if payload is None and binary is None:
        return None
    body = payload.encode() if payload is not None else bytes.fromhex((binary or "").removeprefix("\\x"))
    meta = dump({"id": message_id})
    message = UserBroadcast(TOPIC_PREFIX + topic, event, body, is_json=payload is not None, metadata=meta)
    return ChannelKey(topic, private=row.get("private") == "t"), message_id, message


class Replays:
    """Reads messages from the database to private channels, for replay."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, name: str, replay: Replay, join_ref: Json) -> list[tuple[str, Push | UserBroadcast]]:
        """Return the newest messages with their ids, oldest first, as frames for the joined channel."""
        parameters = {"topic": name, "since_ms": replay.since_ms, "limit": replay.limit}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_REPLAY, parameters)
            rows = await cursor.fetchall()
        return [(row[0], _replayed(TOPIC_PREFIX + name, join_ref, *row)) for row in reversed(rows)]


def _replayed(
    topic: str, join_ref: Json, message_id: str, event: str | None, payload: str | None, binary: bytes | None
) -> Push | UserBroadcast:
    meta = dump({"id": message_id, "replayed": True})
    if binary is not None:
        return UserBroadcast(topic, event or "", binary, is_json=False, metadata=meta)
    body = f'{{"event":{json.dumps(event)},"meta":{meta},"payload":{payload or "null"},"type":"broadcast"}}'
    return Push(topic, "broadcast", body, join_ref=join_ref)


async def purge(pool: Pool, hours: float) -> None:
    """Delete messages that are older than `hours`."""
    async with pool.connection() as connection:
        await connection.execute(_PURGE, (hours,))
