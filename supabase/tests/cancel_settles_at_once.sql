-- A cancelled smelt has failed with `cancelled`; its worker is told with the next call, and completing it answers that.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_answer jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'transcribing', 30);
    perform pg_temp.become('authenticated', v_user);
    v_answer := public.cancel_smelt(v_id);
    assert v_answer ->> 'error_code' = 'cancelled' and v_answer -> 'progress' ->> 'percentage' = '30.0', v_answer;
    assert v_answer -> 'progress' ->> 'message' = 'Processing failed', v_answer;
    assert v_answer ->> 'next_poll_s' is null, v_answer;
    assert public.cancel_smelt(v_id) = v_answer;

    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, v_attempt, 'transcribing', 35) = '{"verdict": "cancelled", "event": null}';
    v_answer := public.renew_smelt_leases('worker', jsonb_build_array(
        jsonb_build_object('smelt_id', v_id, 'attempt', v_attempt)
    ));
    assert v_answer -> 'leases' -> 0 ->> 'verdict' = 'cancelled', v_answer;
    v_answer := public.complete_smelt(v_id, v_attempt, pg_temp.results(v_claim));
    assert v_answer ->> 'verdict' = 'settled' and v_answer ->> 'error_code' = 'cancelled', v_answer;
    assert pg_temp.claim() is null;
    perform pg_temp.become('authenticated', v_user);
    perform public.retry_smelt(v_id);
    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, v_attempt, 'transcribing', 40) ->> 'verdict' = 'lost';
end
$$;
