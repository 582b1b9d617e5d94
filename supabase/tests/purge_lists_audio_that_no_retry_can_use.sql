-- The audio of a smelt is listed at once if each of its files is not a recording, damaged, or too long. Otherwise a
-- retry may need it; and a smelt that asks to keep its audio keeps it.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_case record;
    v_created jsonb;
    v_claim jsonb;
    v_id uuid;
    v_is_listed boolean;
begin
    for v_case in
        select * from (values
            ('{invalid_format}'::text[], '{}'::jsonb, true),
            ('{corrupted_file,duration_exceeded,invalid_format}', '{}', true),
            ('{corrupted_file,decoding_failed}', '{}', false),
            ('{invalid_format,null}', '{}', false),
            ('{internal_error}', '{}', false),
            ('{invalid_format}', '{"keep_audio_h": 48}', false)
        ) as c (codes, options, is_listed)
    loop
        perform pg_temp.become('authenticated', v_user);
        v_created := public.create_smelt(pg_temp.recordings(cardinality(v_case.codes)), options => v_case.options);
        v_id := v_created ->> 'id';
        perform pg_temp.upload(v_created);
        perform public.submit_smelt(v_id);
        v_claim := pg_temp.claim();
        perform pg_temp.become('service_role');
        perform public.report_smelt_progress(
            v_id, (v_claim ->> 'attempt')::bigint, 'validating',
            files => (
                select jsonb_agg(jsonb_build_object(
                    'id', file -> 'id', 'status', case when code is null then 'processing' else 'failed' end,
                    'stage', 'validating', 'progress', 0, 'error_code', code
                ))
                from unnest(v_case.codes) with ordinality as c (code, ordinal)
                join jsonb_array_elements(v_claim -> 'files') with ordinality as f (file, ordinal) using (ordinal)
            )
        );
        perform public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
        v_is_listed := public.list_expired_smelts('janitor') -> 'smelts' ? v_id::text;
        assert v_is_listed = v_case.is_listed, v_case;
        perform pg_temp.become('authenticated', v_user);
        assert coalesce(pg_temp.rejection(format('select public.retry_smelt(%L)', v_id)), 'accepted')
            = case when v_is_listed then 'PT410 audio_expired' else 'accepted' end, v_case;
        perform pg_temp.become('postgres');
        delete from public.smelts where id = v_id;
    end loop;

    -- Also if its worker fails the smelt as a whole.
    v_id := pg_temp.given_smelt(v_user);
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'duration_exceeded');
    assert (pg_temp.smelt(v_id)).audio_state = 'removing';
end
$$;
