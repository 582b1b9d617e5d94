-- A call of an older attempt changes nothing and returns `lost`, also if the same worker has claimed the smelt again.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_old constant bigint := pg_temp.claim('worker') ->> 'attempt';
    v_new bigint;
    v_before public.smelts;
    v_response jsonb;
begin
    perform pg_temp.become('service_role');
    v_response := public.release_smelt(v_id, v_old);
    assert v_response ->> 'verdict' = 'released', v_response;
    v_response := public.report_smelt_progress(v_id, v_old, 'decoding', 15);
    assert v_response = '{"verdict": "lost", "event": null}', v_response;

    v_new := pg_temp.claim('worker') ->> 'attempt';
    assert v_new > v_old;
    v_before := pg_temp.smelt(v_id);
    perform pg_temp.become('service_role');
    assert public.report_smelt_progress(v_id, v_old, 'decoding', 15) ->> 'verdict' = 'lost';
    assert public.complete_smelt(v_id, v_old, '[]') ->> 'verdict' = 'lost';
    assert public.fail_smelt(v_id, v_old, 'internal_error') ->> 'verdict' = 'lost';
    v_response := public.renew_smelt_leases('worker', jsonb_build_array(
        jsonb_build_object('smelt_id', v_id, 'attempt', v_old), jsonb_build_object('smelt_id', v_id, 'attempt', v_new)
    ));
    assert v_response -> 'leases' -> 0 ->> 'verdict' = 'lost', v_response;
    assert v_response -> 'leases' -> 1 ->> 'verdict' = 'go_on', v_response;
    perform pg_temp.become('postgres');
    assert pg_temp.smelt(v_id) is not distinct from v_before;
end
$$;
