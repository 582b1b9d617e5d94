-- `attempt` grows with each claim, release, transient failure and retry, and `seq` with it.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_before public.smelts := pg_temp.smelt(v_id);
    v_after public.smelts;
    v_step text;
begin
    update smelt.limits set retry_base_s = 0;
    foreach v_step in array array['claim', 'release', 'claim', 'fail', 'claim', 'cancel', 'retry', 'claim'] loop
        perform pg_temp.become('service_role');
        case v_step
            when 'claim' then perform public.claim_smelts('worker');
            when 'release' then perform public.release_smelt(v_id, v_before.attempt);
            when 'fail' then perform public.fail_smelt(v_id, v_before.attempt, 'connection_lost', true);
            when 'cancel' then perform public.cancel_smelt(v_id);
            when 'retry' then perform public.retry_smelt(v_id);
        end case;
        v_after := pg_temp.smelt(v_id);
        assert v_after.attempt = v_before.attempt + (v_step <> 'cancel')::integer, format('%s: %s', v_step, v_after);
        assert v_after.seq = v_before.seq + 1, format('%s: %s', v_step, v_after);
        assert v_after.message = case v_step
            when 'fail' then 'Retrying...'
            when 'cancel' then 'Processing failed'
            when 'retry' then 'Waiting to process...'
            else v_before.message
        end, format('%s: %s', v_step, v_after);
        v_before := v_after;
    end loop;
end
$$;
