-- The response of a settling call contains the events of the smelt, leased to the worker of the attempt; a repeated
-- call returns those that are not sent yet. A sweep gets them after the lease.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim('one');
    v_attempt constant bigint := v_claim ->> 'attempt';
    v_first jsonb;
    v_notification jsonb;
begin
    perform pg_temp.become('service_role');
    v_first := public.complete_smelt(v_id, v_attempt, pg_temp.results(v_claim));
    assert jsonb_path_query_array(v_first, '$.outbox[*].event') = '["completed", "new_notification"]', v_first;
    assert v_first #>> '{outbox,0,payload,event_id}' = v_first #>> '{outbox,0,event_id}', v_first;
    perform pg_temp.become('postgres');
    assert (select bool_and(leased_by = 'one' and leased_until > now() + interval '10 s') from smelt.outbox);
    update smelt.outbox set created_at = created_at - interval '6 s';
    perform pg_temp.become('service_role');
    assert public.claim_smelt_outbox('two') = '[]', 'its worker is sending them';
    assert public.complete_smelt(v_id, v_attempt, '[]') = v_first, 'a repetition';
    perform public.settle_smelt_outbox(array[(v_first #>> '{outbox,0,id}')::bigint]);
    v_notification := v_first -> 'outbox' -> 1;
    assert public.complete_smelt(v_id, v_attempt, '[]') -> 'outbox' = jsonb_build_array(v_notification);
    perform pg_temp.become('postgres');
    update smelt.outbox set leased_until = now() - interval '1 s';
    perform pg_temp.become('service_role');
    assert public.claim_smelt_outbox('two') = jsonb_build_array(v_notification), 'a sweep after the lease';
    assert public.complete_smelt(v_id, v_attempt, '[]') -> 'outbox' = '[]', 'another worker is sending it';
    assert public.complete_smelt(v_id, v_attempt - 1, '[]') = '{"verdict": "lost"}';
end
$$;
