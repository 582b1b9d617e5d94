-- The audio of a completed smelt is kept for `keep_audio_h`, and no longer; that of a failed one for a day at least.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_case record;
    v_created jsonb;
    v_claim jsonb;
    v_id uuid;
    v_listed boolean;
begin
    for v_case in
        select * from (values
            ('{"keep_audio_h": 48}'::jsonb, true, 47, false),
            ('{"keep_audio_h": 48}', true, 49, true),
            ('{"keep_audio_h": 0}', true, 0, true),
            ('{}', true, 0, true),
            ('{"keep_audio_h": 48}', false, 47, false),
            ('{"keep_audio_h": 48}', false, 49, true),
            ('{"keep_audio_h": 2}', false, 23, false),
            ('{"keep_audio_h": 2}', false, 25, true),
            ('{}', false, 23, false),
            ('{}', false, 25, true)
        ) as c (options, is_completed, hours, is_listed)
    loop
        perform pg_temp.become('authenticated', v_user);
        v_created := public.create_smelt(pg_temp.recordings(1), options => v_case.options);
        v_id := v_created ->> 'id';
        perform pg_temp.upload(v_created);
        perform public.submit_smelt(v_id);
        v_claim := pg_temp.claim();
        perform pg_temp.become('service_role');
        if v_case.is_completed then
            perform public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
        else
            perform public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'internal_error');
        end if;
        perform pg_temp.become('postgres');
        update public.smelts
        set completed_at = completed_at - v_case.hours * interval '1 h',
            audio_kept_until = audio_kept_until - v_case.hours * interval '1 h'
        where id = v_id;
        perform pg_temp.become('service_role');
        v_listed := public.list_expired_smelts('janitor') -> 'smelts' ? v_id::text;
        assert v_listed = v_case.is_listed, v_case;
        assert (pg_temp.smelt(v_id)).audio_state = case when v_listed then 'removing' else 'stored' end, v_case;
        perform pg_temp.become('postgres');
        delete from public.smelts where id = v_id;
    end loop;
end
$$;

-- The audio of a visitor is not kept beyond the retention of anonymous smelts. The next run of a failed smelt has its
-- own end.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_created jsonb;
    v_claim jsonb;
    v_id uuid;
begin
    perform pg_temp.become('anon');
    v_created := public.create_smelt(pg_temp.recordings(1), options => '{"keep_audio_h": 48}');
    perform pg_temp.upload(v_created);
    v_id := v_created ->> 'id';
    perform public.submit_smelt(v_id);
    perform public.cancel_smelt(v_id);
    perform pg_temp.become('postgres');
    update public.smelts set completed_at = completed_at - interval '25 h' where id = v_id;
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') -> 'smelts' ? v_id::text;

    perform pg_temp.become('authenticated', v_user);
    v_created := public.create_smelt(pg_temp.recordings(1), options => '{"keep_audio_h": 48}');
    perform pg_temp.upload(v_created);
    v_id := v_created ->> 'id';
    perform public.submit_smelt(v_id);
    perform public.cancel_smelt(v_id);
    assert (pg_temp.smelt(v_id)).audio_kept_until is not null;
    perform public.retry_smelt(v_id);
    assert (pg_temp.smelt(v_id)).audio_kept_until is null;
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
    assert (pg_temp.smelt(v_id)).audio_kept_until > now() + interval '47 h';
    assert not public.list_expired_smelts('janitor') -> 'smelts' ? v_id::text;
    -- The owner can still read it: a player needs it.
    perform pg_temp.become('authenticated', v_user);
    assert (select count(*) = 1 from storage.objects where name like v_id || '/%');
end
$$;
