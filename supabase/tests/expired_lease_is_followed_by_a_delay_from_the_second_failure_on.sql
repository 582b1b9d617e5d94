-- A smelt whose lease expired with a risk is due again at once after the first failure, from the second on after the
-- same delay as a transient failure; its watchers get an event.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb := pg_temp.claim();
    v_seq bigint;
    v_delay_s double precision;
begin
    update smelt.limits set max_failures = 100;
    perform pg_temp.stop(v_claim);
    v_claim := pg_temp.claim();
    assert v_claim ->> 'id' = v_id::text and v_claim ->> 'failure_count' = '1', v_claim;
    for i in 2..4 loop
        perform pg_temp.stop(v_claim);
        v_seq := (pg_temp.smelt(v_id)).seq;
        assert pg_temp.claim() is null;
        v_delay_s := extract(epoch from (pg_temp.smelt(v_id)).claimable_at - clock_timestamp());
        assert v_delay_s between 2.5 * 2 ^ (i - 1) - 0.5 and 5 * 2 ^ (i - 1), format('%s: %s', i, v_delay_s);
        assert (pg_temp.smelt(v_id)).seq = v_seq + 1 and (pg_temp.smelt(v_id)).message = 'Resuming...';
        assert exists (
            select from realtime.messages as m
            where m.topic = 'smelt:' || v_id and m.event = 'progress' and m.payload ->> 'seq' = (v_seq + 1)::text
        );
        perform pg_temp.become('service_role');
        assert public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint) ->> 'verdict' = 'lost';
        perform pg_temp.become('postgres');
        update public.smelts set claimable_at = now();
        v_claim := pg_temp.claim();
        assert v_claim ->> 'failure_count' = i::text, v_claim;
    end loop;
end
$$;
