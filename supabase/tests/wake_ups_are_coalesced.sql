-- Workers are woken at most once per second, a single one more often. One of them follows up: it claims again after that
-- second, for smelts whose wake-up was skipped; without room, it wakes the others.
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
    assert public.claim_smelts('one', max_count => 0) -> 'smelts' = '[]';
    assert pg_temp.sent() = 2, 'a smelt is due, and the worker has no room';
    assert (public.claim_smelts('two') ->> 'woken_at')::timestamptz > (v_first ->> 'woken_at')::timestamptz;
    perform public.claim_smelts('one', max_count => 0);
    assert pg_temp.sent() = 2, 'no smelt is due';

    perform pg_temp.become('postgres');
    update smelt.wake_ups set at = at - interval '1.01 s';
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
    perform public.claim_smelts('one', max_count => 0, models => '{small}');
    assert pg_temp.sent() = 5;
end
$$;
