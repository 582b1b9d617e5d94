-- Workers are woken at most once per second, a single one more often. One of them follows up: it claims again after
-- that second, for smelts whose wake-up was skipped; if it cannot claim, it wakes the others.
create function pg_temp.sent() returns bigint
    language sql security definer
    as $$ select count(*) from realtime.messages where topic = 'smelt-workers' $$;
create function pg_temp.submit_text() returns void
    language plpgsql
    as $$
    begin
        perform pg_temp.become('authenticated', pg_temp.given_user());
        perform public.create_smelt(text_input => 'Good morning.');
        set constraints all immediate;
        set constraints all deferred;
        perform pg_temp.become('service_role');
    end
    $$;
-- Let an interval of wake-ups pass.
create function pg_temp.pass_interval() returns void
    language sql security definer
    as $$ update smelt.wake_ups set at = at - interval '1.01 s' $$;
grant execute on all functions in schema pg_temp to public;
do $$
declare
    v_first jsonb;
begin
    for i in 1..3 loop
        perform pg_temp.become('postgres');
        perform pg_temp.submit_text();
    end loop;
    assert pg_temp.sent() = 1, 'coalesced';
    v_first := public.claim_smelts('one');
    assert (v_first ->> 'follow_up_in_s')::numeric between 1 and 1.25, v_first;
    assert public.claim_smelts('two') -> 'follow_up_in_s' = 'null', 'one worker follows up';
    assert pg_temp.sent() = 1, 'a claim wakes nobody';
    perform pg_temp.pass_interval();
    assert public.claim_smelts('one', max_count => 0) -> 'smelts' = '[]';
    assert pg_temp.sent() = 2, 'a smelt is due, and the worker has no room';
    assert (public.claim_smelts('two') ->> 'woken_at')::timestamptz > (v_first ->> 'woken_at')::timestamptz;
    perform pg_temp.pass_interval();
    perform public.claim_smelts('one', max_count => 0);
    assert pg_temp.sent() = 2, 'no smelt is due';

    perform pg_temp.become('postgres');
    perform pg_temp.submit_text();
    assert pg_temp.sent() = 3, 'a second has passed';
    perform public.heartbeat_smelt_worker('one', '{}');
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = at - interval '60 ms';
    perform pg_temp.submit_text();
    assert pg_temp.sent() = 4, 'a single worker';
    assert public.claim_smelts('one') -> 'worker_count' = '1';
    perform public.heartbeat_smelt_worker('two', '{}');
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = at - interval '60 ms';
    perform pg_temp.submit_text();
    assert pg_temp.sent() = 4, 'several workers';
end
$$;

-- If workers have different models, each of them follows up: none can claim for all.
do $$
begin
    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('one', '{"models": ["small"]}');
    perform public.heartbeat_smelt_worker('two', '{"models": ["small", "large"]}');
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = case kind when 'sent' then clock_timestamp() else 'epoch' end;
    perform pg_temp.become('service_role');
    assert public.claim_smelts('one', models => '{small}') -> 'follow_up_in_s' <> 'null';
    assert public.claim_smelts('two', models => '{small,large}') -> 'follow_up_in_s' <> 'null';
end
$$;

-- A worker without room wakes the others also for a smelt that only they can claim.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
begin
    perform pg_temp.become('postgres');
    delete from public.smelts;
    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(pg_temp.recordings(1), options => '{"model": "large"}');
    perform pg_temp.upload(v_created);
    perform public.submit_smelt((v_created ->> 'id')::uuid);
    set constraints all immediate;
    set constraints all deferred;
    perform pg_temp.become('service_role');
    assert pg_temp.sent() = 4, 'coalesced';
    perform pg_temp.pass_interval();
    perform public.claim_smelts('one', max_count => 0, models => '{small}');
    assert pg_temp.sent() = 5;
end
$$;

-- Also for one that its host leaves to other hosts, and for a suspect; and also if it holds a suspect itself. A worker
-- that holds a suspect, or waits for one, does not follow up: it could not claim.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
    v_claims jsonb;
    v_claim jsonb;
begin
    perform pg_temp.become('postgres');
    delete from public.smelts;
    delete from smelt.workers;
    update smelt.limits set retry_base_s = 0;
    perform pg_temp.given_worker('here', 'here');
    perform pg_temp.given_worker('there', 'there');
    v_id := pg_temp.given_smelt(v_user);
    v_claim := pg_temp.claim('here', 'here');
    perform pg_temp.stop(v_claim);
    perform pg_temp.become('service_role');
    perform pg_temp.pass_interval();
    perform public.claim_smelts('here', max_count => 0, host => 'here');
    assert pg_temp.sent() = 6, 'an expired lease';
    v_claims := public.claim_smelts('there', host => 'there');
    v_claim := v_claims -> 'smelts' -> 0;
    assert v_claim ->> 'suspect' = 'model' and v_claims -> 'follow_up_in_s' = 'null', v_claims;

    perform pg_temp.submit_text();
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = case kind when 'sent' then clock_timestamp() else 'epoch' end;
    perform pg_temp.become('service_role');
    assert public.claim_smelts('there', host => 'there')
        @> '{"smelts": [], "follow_up_in_s": null, "waits_for_end": true}';
    perform pg_temp.pass_interval();
    perform public.claim_smelts('there', max_count => 0, host => 'there');
    assert pg_temp.sent() = 7, 'it holds a suspect';

    perform public.claim_smelts('here', host => 'here');
    perform pg_temp.stop(v_claim);
    perform pg_temp.become('service_role');
    assert public.claim_smelts('here', host => 'here') @> '{"smelts": [], "waits_for_end": true}';
    perform pg_temp.pass_interval();
    perform public.claim_smelts('here', max_count => 0, host => 'here');
    assert pg_temp.sent() = 8, 'a suspect';
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = case kind when 'sent' then clock_timestamp() else 'epoch' end;
    perform pg_temp.become('service_role');
    assert public.claim_smelts('here', host => 'here') -> 'follow_up_in_s' = 'null', 'it waits for a suspect';
end
$$;

-- A smelt that is due later may lose its wake-up: each claim returns the end of the first delay, and a worker that has
-- no room then wakes the others.
do $$
declare
    v_claims jsonb;
begin
    perform pg_temp.become('postgres');
    delete from public.smelts;
    perform pg_temp.submit_text();
    v_claims := public.claim_smelts('here', host => 'here');
    assert v_claims -> 'smelts' <> '[]', v_claims;
    perform public.fail_smelt(
        (v_claims -> 'smelts' -> 0 ->> 'id')::uuid, (v_claims -> 'smelts' -> 0 ->> 'attempt')::bigint,
        'connection_lost', transient => true, retry_after_s => 100
    );
    set constraints all immediate;
    set constraints all deferred;
    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = clock_timestamp();
    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('there', max_count => 0, host => 'there');
    assert (v_claims ->> 'follow_up_in_s')::numeric between 99 and 100, v_claims;
    assert (public.claim_smelts('here', host => 'here') ->> 'follow_up_in_s')::numeric between 99 and 100;
    perform pg_temp.become('postgres');
    update public.smelts set claimable_at = clock_timestamp() + interval '300 ms';
    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('there', max_count => 0);
    assert (v_claims ->> 'follow_up_in_s')::numeric between 0.5 and 1, 'not at once again';
    perform pg_temp.become('postgres');
    update public.smelts set claimable_at = clock_timestamp();
    set constraints all immediate;
    set constraints all deferred;
    perform pg_temp.pass_interval();
    v_claims := to_jsonb(pg_temp.sent());
    perform pg_temp.become('service_role');
    assert public.claim_smelts('there', max_count => 0, host => 'there') -> 'follow_up_in_s' = 'null';
    assert pg_temp.sent() = v_claims::bigint + 1;
end
$$;
