-- A reservation holds as long as its worker holds other smelts under leases.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_suspect constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim('stopped');
    v_response jsonb;
begin
    for i in 1..3 loop
        perform pg_temp.given_smelt(v_user);
    end loop;
    assert pg_temp.claim('one') is not null and pg_temp.claim('two') is not null;
    perform pg_temp.stop(v_claim);
    assert pg_temp.claim('one') is null;
    update smelt.leases set expires_at = clock_timestamp() - interval '1 s' where worker_id = 'one';
    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('two', max_count => 2);
    assert v_response -> 'smelts' = '[]', 'now this one waits for the suspect';
    perform pg_temp.become('postgres');
    assert (select x.reserved_by = 'two' from smelt.suspects as x where x.smelt_id = v_suspect);
end
$$;
