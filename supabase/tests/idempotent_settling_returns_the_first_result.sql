-- Each settling call after the first one of an attempt returns the first result.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_first jsonb;
    v_row public.smelts;
begin
    perform pg_temp.become('service_role');
    v_first := public.complete_smelt(v_id, v_attempt, pg_temp.results(v_claim));
    assert v_first ->> 'verdict' = 'settled' and v_first ->> 'outcome' = 'complete', v_first;
    v_row := pg_temp.smelt(v_id);
    assert public.complete_smelt(v_id, v_attempt, pg_temp.results(v_claim)) = v_first;
    assert public.fail_smelt(v_id, v_attempt, 'internal_error') = v_first;
    assert public.release_smelt(v_id, v_attempt) = v_first;
    assert public.report_smelt_progress(v_id, v_attempt, 'synthesizing') ->> 'verdict' = 'lost';
    assert public.cancel_smelt(v_id) ->> 'status' = 'completed';
    assert pg_temp.smelt(v_id) is not distinct from v_row;
    perform pg_temp.become('postgres');
    assert (select count(*) = 1 from smelt.outbox where event = 'completed');
    assert (select count(*) = 1 from public.smelt_notifications);
end
$$;
