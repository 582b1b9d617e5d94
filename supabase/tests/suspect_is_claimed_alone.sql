-- A smelt whose lease expired with a risk is claimed alone, by a worker without other smelts, which claims nothing else
-- until the smelt has passed the stage in which its worker stopped. Released before that, it is a suspect without a
-- rank.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_suspect constant uuid := pg_temp.given_smelt(v_user);
    v_others uuid[];
    v_claim jsonb;
    v_response jsonb;
    v_risk text;
begin
    update smelt.limits set retry_base_s = 0, max_failures = 100, max_failures_on_one_host = 100;
    foreach v_risk in array array['decode', 'model'] loop
        v_claim := pg_temp.claim('one');
        assert (v_claim ->> 'id')::uuid = v_suspect, v_claim;
        perform pg_temp.stop(v_claim, v_risk, case v_risk when 'decode' then 'validating' else 'transcribing' end);
        v_others := array[pg_temp.given_smelt(v_user), pg_temp.given_smelt(v_user)];

        perform pg_temp.become('service_role');
        v_response := public.claim_smelts('two', max_count => 5);
        v_claim := v_response -> 'smelts' -> 0;
        assert jsonb_array_length(v_response -> 'smelts') = 1, v_response;
        assert v_claim ->> 'id' = v_suspect::text and v_claim ->> 'suspect' = v_risk, v_response;
        assert (v_response ->> 'next_due_in_s')::numeric between 4 and 5, v_response;
        v_response := public.claim_smelts('two', max_count => 4);
        assert v_response -> 'smelts' = '[]', 'not before it has passed the stage';
        perform public.release_smelt(v_suspect, (v_claim ->> 'attempt')::bigint);
        assert (pg_temp.smelt(v_suspect)).queue_rank is null and (pg_temp.smelt(v_suspect)).claimable_at is not null;
        v_response := public.claim_smelts('two', max_count => 5);
        v_claim := v_response -> 'smelts' -> 0;
        assert v_claim ->> 'id' = v_suspect::text and v_claim ->> 'suspect' = v_risk, v_response;
        perform pg_temp.report(v_claim, 'validating');
        perform pg_temp.report(v_claim, 'validating', 'decode');
        perform pg_temp.report(v_claim, 'decoding', 'decode');
        if v_risk = 'model' then
            perform pg_temp.report(v_claim, 'decoding');
            perform pg_temp.report(v_claim, 'transcribing', 'model');
        end if;
        perform pg_temp.become('service_role');
        v_response := public.claim_smelts('two', max_count => 4);
        assert v_response -> 'smelts' = '[]', format('%s: not before it has passed the stage', v_risk);
        perform pg_temp.report(v_claim, case v_risk when 'decode' then 'decoding' else 'transcribing' end);
        perform pg_temp.become('service_role');
        v_response := public.claim_smelts('two', max_count => 4);
        assert jsonb_array_length(v_response -> 'smelts') = 2, v_response;
        perform pg_temp.become('postgres');
        assert not exists (select from smelt.suspects);

        perform pg_temp.become('service_role');
        perform public.delete_smelt(id) from unnest(v_others) as id;
        perform public.release_smelt(v_suspect, (v_claim ->> 'attempt')::bigint);
        perform pg_temp.become('postgres');
    end loop;
end
$$;
