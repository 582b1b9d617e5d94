"""Parses the payload of `phx_join`: the settings of a channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from smelt.local.realtime.bindings import inspect
from smelt.local.realtime.protocol import Json, dump
from smelt.pickling import PicklableError

MAX_REPLAY: Final = 25


class InvalidJoin(PicklableError):
    """A join that fails; the text is the `reason` of the reply."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A request to replay the newest `limit` messages from the database since a time."""

    since_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """The settings of a channel; `bindings` are the entries of `postgres_changes` as the client sent them.

    A `legacy` join comes from the first client versions: the name of the channel is the binding, and changes are sent
    as events named after their action.
    """

    private: bool = False
    broadcast_self: bool = False
    broadcast_ack: bool = False
    replication_ready: bool = False
    presence_key: str = ""
    presence_enabled: bool = False
    replay: Replay | None = None
    bindings: tuple[Json, ...] = ()
    access_token: str | None = None
    legacy: bool = False


def parse_join(name: str, payload: Json) -> JoinRequest:
    """Parse the payload of a join to the channel `name`; raise InvalidJoin."""
    if not isinstance(payload, dict):
        raise InvalidJoin(f"UnknownErrorOnChannel: expected params to be a :map, got: `{inspect(payload)}`")
    # The first client versions call it `user_token`.
    tokens = (payload.get("user_token"), payload.get("access_token"))
    access_token = next((token for token in tokens if isinstance(token, str)), None)
    if "config" not in payload:
        binding = dict(zip(("schema", "table", "filter"), name.split(":", 2), strict=False))
        return JoinRequest(bindings=(binding,), access_token=access_token, legacy=True)
    if payload["config"] is None:
        return JoinRequest(access_token=access_token)
    config = _mapping(payload["config"])
    broadcast, presence = _mapping(config.get("broadcast")), _mapping(config.get("presence"))
    private = _is_true(config.get("private"))
    bindings = config.get("postgres_changes")
    return JoinRequest(
        private=private,
        broadcast_self=_is_true(broadcast.get("self")),
        broadcast_ack=_is_true(broadcast.get("ack")),
        replication_ready=_is_true(broadcast.get("replication_ready")),
        presence_key=_presence_key(presence.get("key")),
        presence_enabled=_is_true(presence.get("enabled")),
        replay=_parse_replay(broadcast, private=private),
        bindings=_parse_bindings(bindings) if isinstance(bindings, list) else (),
        access_token=access_token,
    )


def _parse_bindings(bindings: list[Json]) -> tuple[Json, ...]:
    for binding in bindings:
        if binding is not None and not isinstance(binding, dict):
            raise InvalidJoin(f"UnknownErrorOnChannel: expected a map, got:\n\n    {inspect(binding)}\n")
    return tuple(binding for binding in bindings if binding is not None)


def _parse_replay(broadcast: Mapping[str, Json], *, private: bool) -> Replay | None:
    replay = broadcast.get("replay")
    if "replay" in broadcast and not private:
        raise InvalidJoin("UnableToReplayMessages: Replay is not allowed for public channels")
    if not isinstance(replay, dict):
        return None
    since, limit = replay.get("since"), replay.get("limit")
    if limit is None or limit is False:
        limit = MAX_REPLAY
    if not _is_int(since) or not _is_int(limit):
        raise InvalidJoin("UnableToReplayMessages: Replay params are not valid")
    return Replay(since, max(1, min(limit, MAX_REPLAY)))


def _mapping(value: Json) -> Mapping[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidJoin("UnknownErrorOnChannel: no function clause matching in Access.get/3")
    return value


def _is_int(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_true(value: Json) -> bool:
    # Strings are accepted, and any other value is false.
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _presence_key(value: Json) -> str:
    match value:
        case str():
            return value
        case bool() | int() | float():
            return dump(value)
        case _:
            return ""
