-- A cancelled smelt has failed with `cancelled`; its worker gets that verdict with the next call.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(v_id, v_attempt, 'transcribing', 30);
    perform pg_temp.become('authenticated', v_user);
    v_response := public.cancel_smelt(v_id);
    assert v_response ->> 'error_code' = 'cancelled' and v_response -> 'progress' ->> 'percentage' = '30.0', v_response;
    assert v_response -> 'progress' ->> 'message' = 'Processing failed', v_response;
    assert v_response ->> 'next_poll_s' is null, v_response;
    assert public.cancel_smelt(v_id) = v_response;

    perform pg_temp.become('service_role');
    v_response := public.report_smelt_progress(v_id, v_attempt, 'transcribing', 35);
    assert v_response = '{"verdict": "cancelled", "event": null}', v_response;
    v_response := public.renew_smelt_leases('worker', jsonb_build_array(
        jsonb_build_object('smelt_id', v_id, 'attempt', v_attempt)
    ));
    assert v_response -> 'leases' -> 0 ->> 'verdict' = 'cancelled', v_response;
    v_response := public.complete_smelt(v_id, v_attempt, pg_temp.results(v_claim));
    assert v_response ->> 'verdict' = 'settled' and v_response ->> 'error_code' = 'cancelled', v_response;
    assert pg_temp.claim() is null;
    perform pg_temp.become('authenticated', v_user);
    perform public.retry_smelt(v_id);
    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, v_attempt, 'transcribing', 40) ->> 'verdict' = 'lost';
end
$$;
