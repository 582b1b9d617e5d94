"""The server says what a real Supabase Realtime said, frame by frame."""

import pytest
from realtime_server import RealtimeServer
from recorded import load
from replaying import Replayer

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
    "07_access_token": POLICIES,
    "08_realtime_send": POLICIES + SOURCE,
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
# Recorded shortened, or without what was done to the table just before.
STATEMENTS = {
    "insert into types_t(id,c_jsonb": TYPES,
    "update big set small='s2'": "alter table big replica identity full; update big set small='s2' where id=3",
    "update big set small='s3'": "alter table big replica identity default; update big set small='s3' where id=2",
}
# Tokens that expire in the same second.
TOPICS_APART = ("07_access_token",)
# Deletes by the recording of another scenario at the same time.
NOISE = {"06b_postgres_changes_full_and_types_v1": frozenset({40}), "07_access_token_v1": frozenset({6})}

RECORDINGS = [
    "01_connect_auth",
    "02_join_public_v1",
    "02_join_public_v2",
    "02b_join_errors_v1",
    "02b_join_errors_v2",
    "02c_bad_messages_v1",
    "02d_misc_v1",
    "02d_misc_v2",
    "03_broadcast_v1",
    "03_broadcast_v2",
    "03b_presence_v1",
    "03b_presence_v2",
    "04_http_broadcast",
    "05_private_channel_v1",
    "05_private_channel_v2",
    "05c_private_http",
    "06_postgres_changes_v1",
    "06_postgres_changes_v2",
    "06b_postgres_changes_full_and_types_v1",
    "06b_postgres_changes_full_and_types_v2",
    "06c_postgres_changes_big",
    "06d_postgres_changes_errors_v1",
    "06d_postgres_changes_errors_v2",
    "07_access_token_v1",
    "08_realtime_send_v1",
    "08_realtime_send_v2",
    "09_limits",
    "09c_presence_rate_limit",
]
HEADERS = {
    "x_api_key_header": {"x-api-key": "<ANON_KEY>"},
    "apikey_header_only": {"apikey": "<ANON_KEY>"},
    "authorization_header_only": {"Authorization": "Bearer <ANON_KEY>"},
}


@pytest.mark.parametrize("name", RECORDINGS)
async def test_frames_are_those_of_the_recording(realtime: RealtimeServer, name: str) -> None:
    """Every frame and every answer equals the recorded one, but for identifiers and times."""
    for prefix, statements in BEFORE.items():
        if name.startswith(prefix):
            await realtime.sql(statements)
    replayer = Replayer(
        realtime,
        load(name),
        noise=NOISE.get(name, frozenset()),
        statements=STATEMENTS,
        headers=HEADERS,
        topics_apart=name.startswith(TOPICS_APART),
    )
    tally = await replayer.play()
    assert not tally.differences, "\n".join(tally.differences)
    assert tally.compared
