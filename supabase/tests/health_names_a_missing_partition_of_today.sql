-- Health names the partition for today that a table partitioned by day lacks.
do $$
declare
    v_today constant text := 'messages' || to_char(clock_timestamp() at time zone 'utc', '_YYYY_MM_DD');
begin
    create temp table whole (inserted_at timestamp);
    assert smelt.missing_partition('whole') is null, 'it is not partitioned';

    create temp table messages (inserted_at timestamp) partition by range (inserted_at);
    create temp table messages_2026_01_01 partition of messages for values from ('2026-01-01') to ('2026-01-02');
    assert smelt.missing_partition('pg_temp.messages') = v_today;

    execute format('create temp table %I partition of messages default', v_today);
    assert smelt.missing_partition('pg_temp.messages') is null;

    perform pg_temp.become('service_role');
    assert public.get_smelt_health() ? 'missing_partition';
end
$$;
