-- Health reports how many smelts are due, and for how long, the running ones, the unsent events and the workers.
do $$
declare
    v_smelt constant uuid := pg_temp.given_smelt();
    v_health jsonb;
begin
    update public.smelts set claimable_at = clock_timestamp() - interval '90 s' where id = v_smelt;
    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('one', '{}');
    v_health := public.get_smelt_health();
    assert v_health @> '{"waiting": 1, "running": 0, "unsent": 0, "oldest_unsent_s": 0, "workers": 1, "suspended": 0}',
        v_health;
    assert (v_health ->> 'oldest_waiting_s')::float between 90 and 120;
    assert abs(extract(epoch from (v_health ->> 'now')::timestamptz - clock_timestamp())) < 10;

    perform pg_temp.claim();
    v_health := public.get_smelt_health();
    assert v_health @> '{"waiting": 0, "oldest_waiting_s": 0, "running": 1}', v_health;

    perform pg_temp.become('postgres');
    update smelt.leases set expires_at = clock_timestamp() - interval '10 s';
    perform pg_temp.become('service_role');
    assert public.get_smelt_health() @> '{"waiting": 1, "running": 0}', 'a smelt with an expired lease is due';

    perform pg_temp.become('anon');
    perform public.cancel_smelt(v_smelt);
    perform pg_temp.become('service_role');
    assert public.get_smelt_health() @> '{"waiting": 0}';
    assert (public.get_smelt_health() ->> 'unsent')::integer > 0;

    perform public.heartbeat_smelt_worker('two', '{"state": "suspended"}');
    assert public.get_smelt_health() @> '{"workers": 2, "suspended": 1}', public.get_smelt_health();
    perform pg_temp.become('postgres');
    update smelt.workers set seen_at = seen_at - interval '61 s' where worker_id = 'two';
    perform pg_temp.become('service_role');
    assert public.get_smelt_health() @> '{"workers": 1, "suspended": 0}', public.get_smelt_health();
end
$$;
