-- If another host is alive, it has 60 seconds to claim a smelt whose lease expired on a host, whose work was killed
-- there, or that is due again after its delay. After that, or if no other host with its model is alive, the same host
-- claims it.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb;
    v_response jsonb;
    v_ending text;
    v_large uuid;
begin
    update smelt.limits set max_failures = 100, max_failures_on_one_host = 100;
    perform pg_temp.given_worker('a1', 'a');
    foreach v_ending in array array['expired', 'stopped', 'delayed', 'killed'] loop
        perform pg_temp.given_worker('b1', 'b', '1 hour');
        v_claim := pg_temp.claim('a1', 'a');
        assert v_claim ->> 'id' = v_id::text, format('%s: %s', v_ending, v_claim);
        perform pg_temp.given_worker('b1', 'b');
        case v_ending
            when 'expired' then perform pg_temp.expire_leases();
            when 'killed' then
                perform pg_temp.become('service_role');
                perform public.release_smelt(v_id, (v_claim ->> 'attempt')::bigint, true, 'the decoder was killed');
                perform pg_temp.become('postgres');
            else perform pg_temp.stop(v_claim);
        end case;
        if v_ending = 'delayed' then
            assert pg_temp.claim('b2', 'b') is null;
        end if;
        update public.smelts set claimable_at = clock_timestamp() - interval '2 s' where claimable_at is not null;
        perform pg_temp.become('service_role');
        v_response := public.claim_smelts('a2', host => 'a');
        assert v_response -> 'smelts' = '[]', format('%s: %s', v_ending, v_response);
        assert (v_response ->> 'next_due_in_s')::numeric between 55 and 60, format('%s: %s', v_ending, v_response);
        perform pg_temp.become('postgres');

        -- Another host claims it; here it gives it back.
        v_claim := pg_temp.claim('b1', 'b');
        if v_ending = 'stopped' then
            assert v_claim is null, 'the second failure is followed by a delay';
            update public.smelts set claimable_at = clock_timestamp() - interval '2 s';
            v_claim := pg_temp.claim('b1', 'b');
        end if;
        assert v_claim ->> 'id' = v_id::text, format('%s: %s', v_ending, v_claim);
        perform pg_temp.report(v_claim, 'transcribing');
        perform pg_temp.become('service_role');
        perform public.release_smelt(v_id, (v_claim ->> 'attempt')::bigint);
        perform pg_temp.become('postgres');
        update public.smelts set failure_count = 1;
    end loop;

    v_claim := pg_temp.claim('a1', 'a');
    perform pg_temp.stop(v_claim);
    update smelt.leases set expires_at = clock_timestamp() - interval '61 s';
    update public.smelts set failure_count = 0;
    assert pg_temp.claim('a2', 'a') ->> 'id' = v_id::text, 'nobody else has claimed it within 60 s';

    -- A host without the model of the smelt does not count.
    perform pg_temp.given_worker('b1', 'b');
    v_large := pg_temp.given_smelt(pg_temp.given_user());
    update public.smelts set options = '{"model": "large"}', claimable_at = null, queue_rank = null where id = v_large;
    update public.smelts set claimable_at = clock_timestamp() where id = v_large;
    v_claim := pg_temp.claim('a1', 'a', '{large}');
    assert v_claim ->> 'id' = v_large::text, v_claim;
    update smelt.leases set expires_at = clock_timestamp() - interval '1 s' where smelt_id = v_large;
    assert pg_temp.claim('a3', 'a', '{large}') ->> 'id' = v_large::text, 'no other host can claim it';
end
$$;
