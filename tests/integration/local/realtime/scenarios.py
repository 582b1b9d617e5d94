"""Settings for each recording: its setup, omitted statements and manual actions.

It also has the intended differences; each has a row in the table of differences in `smelt/local/README.md`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.integration.local.realtime.realtime_server import RealtimeServer
from tests.integration.local.realtime.recorded import FOLDER, Step, load
from tests.integration.local.realtime.replayer import Act, Replayer

POLICIES = """
create policy all_sel on realtime.messages for select to authenticated using (true);
create policy all_ins on realtime.messages for insert to authenticated with check (true);
"""
SOURCE = """
create table public.bcast_src (id int primary key, v text);
create or replace function public.bcast_src_changed() returns trigger language plpgsql security definer as $$
begin
    perform realtime.broadcast_changes('db', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
    return null;
end $$;
create trigger bcast after insert or update or delete on public.bcast_src
    for each row execute function public.bcast_src_changed();
delete from realtime.messages;
"""
BEFORE = {
    "07_access_token_v1": POLICIES,
    "08_realtime_send_v1": POLICIES + SOURCE,
    "08_realtime_send_v2": POLICIES + SOURCE,
}
TYPES = """
insert into types_t (id, c_jsonb, c_json, c_tstz, c_ts, c_date, c_time, c_timetz, c_interval, c_enum, c_numeric,
    c_numeric2, c_int2, c_int4, c_int8, c_float4, c_float8, c_bool, c_text, c_varchar, c_char, c_textarr, c_intarr,
    c_uuidarr, c_jsonbarr, c_enumarr, c_bytea, c_inet, c_domain, c_money, c_tsr, c_point, c_tsv)
values ('d0000000-0000-4000-8000-000000000001', '{"b": 1, "a": [1, 2, {"x": null}], "f": 1.50}', '{"b":1,"a":2}',
    '2026-01-02 03:04:05.678901+02', '2026-01-02 03:04:05.5', '2026-01-02', '03:04:05', '03:04:05+02', '1 day 02:03:04',
    'happy', 12345678901234567890.123456789, 10.50, 1, 2, 9007199254740993, 1.5, 0.1, true, 'te"xt ü', 'vc', 'c',
    array['a', 'b c', null, 'q"x'], array[1, 2], array['d0000000-0000-4000-8000-000000000001'::uuid],
    array['{"a": 1}'::jsonb], array['sad', 'ok']::mood[], '\\xdeadbeef', '10.0.0.1', 5, '12.34',
    '[2026-01-01 00:00+00, 2026-02-01 00:00+00)', '(1,2)', 'a:1 b:2')
"""
# Statements that were shortened, or that lack an earlier change of the table.
STATEMENTS = {
    "insert into types_t(id,c_jsonb": TYPES,
    "update big set small='s2'": "alter table big replica identity full; update big set small='s2' where id=3",
    "update big set small='s3'": "alter table big replica identity default; update big set small='s3' where id=2",
    "insert into notes(id,body) values (9000 +": "insert into notes (id, body) values (86508, 'after restart')",
}
HEADERS = {
    "x_api_key_header": {"x-api-key": "<ANON_KEY>"},
    "apikey_header_only": {"apikey": "<ANON_KEY>"},
    "authorization_header_only": {"Authorization": "Bearer <ANON_KEY>"},
}
# Tokens that expire in the same second.
TOPICS_MAY_SWAP = frozenset({"07_access_token_v1"})
SERVER_CLOSES = frozenset({"10c_idle_socket"})
# Changes by the recording of another scenario at the same time.
NOISE = {
    "06b_postgres_changes_full_and_types_v1": (40,),
    "06g_publication_change": (19, 20, 24),
    "07_access_token_v1": (6,),
}


OPTIONS: Mapping[str, dict[str, Any]] = {
    # Long enough to send frames meanwhile.
    "02d_misc_v1": {"join_error_delay_s": 0.3},
    "02d_misc_v2": {"join_error_delay_s": 0.3},
    "06g_publication_change": {"publication_check_interval_s": 3600.0},
    # Short enough to exceed the limit soon, long enough to stay above it.
    "09b_rate_limit": {"event_tick_s": 1.0},
    "10c_idle_socket": {"idle_timeout_s": 1.0},
}


def recordings() -> list[str]:
    """Return the names of all recordings."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def steps_of(name: str) -> list[Step]:
    """Return the steps to replay, with the intended differences."""
    steps = [step for number, step in enumerate(load(name)) if number not in NOISE.get(name, ())]
    return ADAPTED[name](steps) if name in ADAPTED else steps


def _has_one_tenant(steps: list[Step]) -> list[Step]:
    """The gateway does not forward `/healthcheck`, the database is connected, and every host belongs to the project."""
    adapted = []
    for step in steps:
        if step["dir"] == "http" and step["request_headers"]["Host"] == "unknown.localhost":
            adapted.append({"dir": "unsaid", "t_ms": step["t_ms"]})
        elif step.get("path") == "/healthcheck":
            body = {"status": 404, "body": "Not Found", "response_headers": {"content-type": "text/html"}}
            adapted.append({**step, **body, "deliberate": True})
        elif step.get("body", "").startswith('{"data"'):
            connected = step["body"].replace("false", "true").replace("us-east-1", "local").replace(":0}", ":1}")
            adapted.append({**step, "body": connected, "deliberate": True})
        else:
            adapted.append(step)
    return adapted


def _subscribes_immediately(steps: list[Step]) -> list[Step]:
    """A subscription is active at once, so a change that the platform lost is sent."""
    subscribed, change = (_first(steps, event) for event in ("system", "postgres_changes"))
    adapted: list[Step] = []
    for step in steps:
        if step is subscribed:
            continue
        adapted.append(step)
        if step["dir"] == "recv" and step["frame"]["event"] == "phx_reply" and step["conn"] == subscribed["conn"]:
            adapted.append({**subscribed, "deliberate": True})
        if step["dir"] == "sql" and step["t_ms"] < subscribed["t_ms"]:
            adapted.append(_with_id(change, step["sql"]))
    return adapted


def _with_id(change: Step, statement: str) -> Step:
    step: Step = json.loads(json.dumps({**change, "deliberate": True}))
    number = re.search(r"values \((\d+)", statement)
    assert number is not None
    step["frame"]["payload"]["data"]["record"]["id"] = int(number[1])
    return step


def _sends_per_protocol(steps: list[Step]) -> list[Step]:
    """Each socket receives changes in its own protocol version."""
    return [_as_v2(step) if step.get("conn") == "B_vsn2" and _is_v1(step) else step for step in steps]


def _is_v1(step: Step) -> bool:
    return step["dir"] == "recv" and isinstance(step["frame"], dict)


def _as_v2(step: Step) -> Step:
    frame = step["frame"]
    return {**step, "frame": [None, None, frame["topic"], frame["event"], frame["payload"]], "deliberate": True}


def _stops_immediately(steps: list[Step]) -> list[Step]:
    """A stopping server sends no more replies, and closes sockets without channels like the others."""
    (begins_ms,) = (step["t_ms"] for step in steps if step.get("text") == "graceful stop begins")
    (ends_ms,) = (step["t_ms"] for step in steps if step["dir"] == "closed" and step["conn"] == "A")
    adapted = []
    for step in steps:
        if step["dir"] == "closed" and step["conn"] == "idle_no_channel":
            adapted.append({**step, "code": 1012, "deliberate": True})
        elif not begins_ms < step["t_ms"] < ends_ms:
            adapted.append(step)
        elif step["dir"] == "recv":
            adapted.append({"dir": "unsaid", "t_ms": step["t_ms"]})
    return adapted


def _reads_the_publication(steps: list[Step]) -> list[Step]:
    return _before(steps, "Subscribed to PostgreSQL", -2, "the publication is read again")


def _floods(steps: list[Step]) -> list[Step]:
    return _before(steps, '"type": "broadcast"', 0, "broadcasts are sent")


def _first(steps: list[Step], event: str) -> Step:
    return next(step for step in steps if step["dir"] == "recv" and step["frame"]["event"] == event)


def _before(steps: list[Step], text: str, which: int, note: str) -> list[Step]:
    at = [number for number, step in enumerate(steps) if step["dir"] == "recv" and text in json.dumps(step)][which]
    return [*steps[:at], {"dir": "note", "text": note, "t_ms": steps[at]["t_ms"]}, *steps[at:]]


ADAPTED: Mapping[str, Callable[[list[Step]], list[Step]]] = {
    "01b_http_misc": _has_one_tenant,
    "06f_postgres_changes_cold_start": _subscribes_immediately,
    "06g_publication_change": _reads_the_publication,
    "06h_mixed_vsn_upstream_bug": _sends_per_protocol,
    "09b_rate_limit": _floods,
    "10_server_restart": _stops_immediately,
}


async def _flood(replayer: Replayer) -> None:
    """Broadcast until the receiver is closed; only the first and last received frames were recorded."""
    sender, receiver = replayer.sockets["A"], replayer.sockets["B"]
    payload = {"type": "broadcast", "event": "e", "payload": {"n": 1}}
    message = json.dumps({"topic": "realtime:rate", "event": "broadcast", "payload": payload, "ref": None})
    received: list[str | bytes] = []
    while not any("phx_close" in str(frame) for frame in received[-100:]):
        for _ in range(100):
            await sender.socket.send(message)
        await sender.rest()
        received += await receiver.rest()
    receiver.put_back([*received[:2], *(frame for frame in received if '"event":"broadcast"' not in str(frame))])


async def _read_publication(replayer: Replayer) -> None:
    assert isinstance(replayer.server, RealtimeServer)
    await replayer.server.realtime.changes.refresh()


async def _crash_postgres(replayer: Replayer) -> None:
    assert isinstance(replayer.server, RealtimeServer)
    await replayer.server.crash_postgres()
    await replayer.server.realtime.wait_ready()


ACTS: Mapping[str, Act] = {
    "broadcasts are sent": _flood,
    "the publication is read again": _read_publication,
    "Postgres restart (": _crash_postgres,
}
