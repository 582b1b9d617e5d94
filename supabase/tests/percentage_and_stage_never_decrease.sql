-- A report of an earlier stage or a lower percentage changes nothing and is accepted.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_report jsonb;
    v_seq bigint;
begin
    perform pg_temp.become('service_role');
    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'transcribing', 55.55);
    assert v_report -> 'event' -> 'progress' = '{
        "percentage": 55.6, "stage": "transcribing", "message": "Transcribing audio..."
    }', v_report;
    v_seq := (v_report -> 'event' ->> 'seq')::bigint;

    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'decoding', 12);
    assert v_report = '{"verdict": "go_on", "event": null}', v_report;
    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'transcribing', 'NaN');
    assert v_report -> 'event' = 'null', v_report;

    v_report := public.report_smelt_progress(v_id, (v_claim ->> 'attempt')::bigint, 'synthesizing');
    assert v_report -> 'event' -> 'progress' ->> 'percentage' = '70.0', v_report;
    assert (v_report -> 'event' ->> 'seq')::bigint = v_seq + 1, v_report;
end
$$;
