-- A smelt whose lease expired is claimed again where it was, with the message `Resuming...`.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_old constant jsonb := pg_temp.claim('one');
    v_new jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(
        v_id, (v_old ->> 'attempt')::bigint, 'transcribing', 40,
        files => jsonb_build_array(jsonb_build_object(
            'id', v_old -> 'files' -> 0 ->> 'id', 'stage', 'transcribing', 'checkpoint', '{"at": 9}'::jsonb
        )),
        segments => jsonb_build_array(jsonb_build_object(
            'file_id', v_old -> 'files' -> 0 ->> 'id', 'index', 0, 'start', 0, 'end', 9, 'text', 'hello'
        )),
        risk => 'model'
    );
    assert pg_temp.claim('two') is null, 'a smelt with a valid lease is not claimed';
    perform pg_temp.expire_leases();
    v_new := pg_temp.claim('two');
    assert (v_new ->> 'id')::uuid = v_id;
    assert (v_new ->> 'attempt')::bigint > (v_old ->> 'attempt')::bigint;
    assert v_new ->> 'status' = 'transcribing' and v_new ->> 'percentage' = '40.0', v_new;
    assert v_new -> 'files' -> 0 @> '{"checkpoint": {"at": 9}, "segment_count": 1}', v_new;
    assert (pg_temp.smelt(v_id)).message = 'Resuming...';
    assert (pg_temp.smelt(v_id)).failure_count = 1;

    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, (v_new ->> 'attempt')::bigint, 'decoding', 15);
    assert (pg_temp.smelt(v_id)).message = 'Resuming...', 'until the new attempt has caught up';
    perform public.report_smelt_progress(v_id, (v_new ->> 'attempt')::bigint, 'transcribing', 41);
    assert (pg_temp.smelt(v_id)).message = 'Transcribing audio...';
end
$$;
