-- Health and heartbeats report the version of the schema, and from which version of a worker on it can be used.
do $$
declare
    v_schema constant jsonb := '{"schema_version": 7, "schema_compatible_from": 5}';
begin
    update smelt.schema_version set version = 7, compatible_from = 5;
    perform pg_temp.become('service_role');
    assert public.get_smelt_health() @> v_schema;
    assert public.heartbeat_smelt_worker('one', '{}') = v_schema;
    perform pg_temp.become('postgres');
    assert pg_temp.rejection('update smelt.schema_version set compatible_from = 8') = '23514';
    assert pg_temp.rejection('insert into smelt.schema_version values (false, 8, 8)') = '23514';
end
$$;
