-- The third failure ends a smelt if the failures were on two hosts, or if no other host was alive within 60 seconds;
-- else the host may be the cause, and the fifth ends it.
do $$
declare
    v_id uuid;
    v_claim jsonb;
    v_case record;
    v_failure_count integer;
begin
    update smelt.limits set retry_base_s = 0;
    for v_case in
        select * from (values
            ('no other host', '1 hour'::interval, '{a,a,a}'::text[]),
            ('another host, which did not claim it', '0', '{a,a,a,a,a}'),
            ('two hosts', '0', '{a,b,a}'),
            ('two hosts at last', '0', '{a,a,a,b}')
        ) as c (name, seen_ago, hosts)
    loop
        v_id := pg_temp.given_smelt(pg_temp.given_user());
        for i in 1..cardinality(v_case.hosts) loop
            -- All are away at the claim, so that this host may claim at once.
            perform pg_temp.given_worker('a', 'a', '1 hour'), pg_temp.given_worker('b', 'b', '1 hour');
            v_claim := pg_temp.claim(v_case.hosts[i] || i, v_case.hosts[i]);
            assert v_claim ->> 'id' = v_id::text, format('%s, %s: %s', v_case.name, i, v_claim);
            perform pg_temp.stop(v_claim, case when i % 2 = 0 then 'model' else 'decode' end);
            update smelt.leases set expires_at = clock_timestamp() - interval '2 min';
            perform pg_temp.given_worker('a', 'a'), pg_temp.given_worker('b', 'b', v_case.seen_ago);
            perform smelt.requeue_all_expired(array[v_id]);
            v_failure_count := (pg_temp.smelt(v_id)).failure_count;
            assert v_failure_count = i;
            assert (pg_temp.smelt(v_id)).status = case
                when i < cardinality(v_case.hosts) then 'transcribing' else 'failed'
            end, format('%s, %s', v_case.name, i);
        end loop;
        assert (pg_temp.smelt(v_id)).error_code = 'internal_error';
        assert (pg_temp.smelt(v_id)).error_message
            = format('The worker stopped %s times while processing this file.', v_failure_count);
    end loop;
end
$$;
