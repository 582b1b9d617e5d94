-- A retry starts the next run at `pending`, 0 %; segments get the new run and `seq`, and `seq` never resets.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim jsonb := pg_temp.claim();
    v_file constant uuid := v_claim -> 'files' -> 0 ->> 'id';
    v_before bigint;
    v_state jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint, 'synthesizing', 80,
        files => jsonb_build_array(jsonb_build_object(
            'id', v_file, 'stage', 'synthesizing', 'transcribed', true, 'progress', 80
        )),
        segments => jsonb_build_array(jsonb_build_object(
            'file_id', v_file, 'index', 0, 'start', 0, 'end', 2.5, 'text', 'hello', 'avg_logprob', -0.2
        ))
    );
    perform public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'synthesis_failed');
    v_before := (pg_temp.smelt(v_id)).seq;

    perform pg_temp.become('authenticated', v_user);
    v_state := public.retry_smelt(v_id);
    assert v_state ->> 'status' = 'pending' and v_state -> 'progress' ->> 'percentage' = '0.0', v_state;
    assert v_state ->> 'run' = '2' and (v_state ->> 'seq')::bigint > v_before, v_state;
    assert v_state ->> 'error_code' is null and v_state -> 'files' -> 0 ->> 'status' = 'pending', v_state;
    v_state := public.get_smelt(v_id, segments_after => v_before);
    assert jsonb_array_length(v_state -> 'segments') = 1, v_state;
    assert public.retry_smelt(v_id) ->> 'run' = '2', 'an open smelt is not started again';

    v_claim := pg_temp.claim();
    assert (v_claim -> 'files' -> 0 -> 'transcribed')::boolean, v_claim;
    perform pg_temp.become('service_role');
    assert public.load_smelt_segments(v_id, v_file) = '[{
        "index": 0, "start": 0, "end": 2.5, "text": "hello", "speaker": null, "avg_logprob": -0.2,
        "no_speech_prob": null, "compression_ratio": null, "words": null
    }]', public.load_smelt_segments(v_id, v_file);
end
$$;
