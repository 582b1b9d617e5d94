-- Each attempt keeps its host, the risk at its end, if it counted as a failure, and why it ended; the owner reads one
-- sentence.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim jsonb;
    v_known jsonb;
    v_attempts jsonb;
begin
    update smelt.limits set retry_base_s = 0;
    v_claim := pg_temp.claim('one', 'a');
    perform pg_temp.become('service_role');
    perform public.release_smelt(v_id, (v_claim ->> 'attempt')::bigint, reason => 'the worker drains');
    perform pg_temp.claim('one', 'a');
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim('one', 'a');
    perform pg_temp.become('service_role');
    perform public.fail_smelt(v_id, (v_claim ->> 'attempt')::bigint, 'connection_lost', true, reason => 'no route');
    v_claim := pg_temp.claim('two', 'b');
    perform pg_temp.report(v_claim, 'validating', 'decode');
    perform pg_temp.become('service_role');
    perform public.release_smelt(v_id, (v_claim ->> 'attempt')::bigint, true, 'killed' || repeat(' again', 100));
    v_claim := pg_temp.claim('one', 'a');
    perform pg_temp.report(v_claim, 'transcribing', 'model');
    perform pg_temp.become('service_role');
    v_known := public.get_smelt_attempts(v_id);
    assert v_known -> 'attempts' -> 4 @> '{"host": "a", "risk": "model", "ended_as": null}', v_known;
    perform pg_temp.become('postgres');
    perform pg_temp.stop(v_claim);
    perform pg_temp.claim('two', 'b');

    perform pg_temp.become('service_role');
    v_known := public.get_smelt_attempts(v_id);
    select jsonb_agg(jsonb_build_array(a -> 'host', a -> 'ended_as', a -> 'risk', a -> 'is_failure', a -> 'error_code'))
    into v_attempts
    from jsonb_array_elements(v_known -> 'attempts') as a;
    assert v_attempts = '[
        ["a", "released", null, false, null],
        ["a", "expired", null, false, null],
        ["a", "retrying", null, true, null],
        ["b", "released", "decode", true, null],
        ["a", "settled", "model", true, "internal_error"]
    ]', v_attempts;
    select jsonb_agg(left(a ->> 'reason', 50)) into v_attempts from jsonb_array_elements(v_known -> 'attempts') as a;
    assert v_attempts = '[
        "the worker drains",
        "the lease expired while no file was decoded or tra",
        "no route",
        "killed again again again again again again again a",
        "the lease expired while transcribing a file"
    ]', v_attempts;
    assert length(v_known -> 'attempts' -> 3 ->> 'reason') = 500;
    assert v_known @> '{"status": "failed", "failure_count": 3, "suspect": null}', v_known;
    assert v_known ->> 'error_message' =
        'Processing failed 3 times; the last time, the worker stopped while transcribing this file.', v_known;
    assert public.get_smelt_attempts(gen_random_uuid()) is null;
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_id) ->> 'error_message' = v_known ->> 'error_message';
end
$$;
