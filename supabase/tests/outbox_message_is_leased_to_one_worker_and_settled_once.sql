-- An unsent event is leased to one worker at a time: by the id of its smelt at once, by a sweep after 5 seconds. It is
-- settled once.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(null);
    v_claim constant jsonb := pg_temp.claim();
    v_messages jsonb;
begin
    perform pg_temp.become('service_role');
    perform public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
    assert public.claim_smelt_outbox('sweeper') = '[]', 'a sweep leaves new events to the worker of the smelt';
    perform pg_temp.become('postgres');
    update smelt.outbox set leased_by = null, leased_until = null;
    perform pg_temp.become('service_role');
    v_messages := public.claim_smelt_outbox('one', smelt_id => v_id);
    assert jsonb_array_length(v_messages) = 1 and v_messages -> 0 ->> 'topic' = 'smelt:' || v_id, v_messages;
    assert v_messages -> 0 -> 'payload' ->> 'event_id' = v_messages -> 0 ->> 'event_id', v_messages;
    assert public.claim_smelt_outbox('two', smelt_id => v_id) = '[]', 'it is leased';
    perform pg_temp.become('postgres');
    update smelt.outbox set created_at = created_at - interval '6 s', leased_until = now() - interval '1 s';
    perform pg_temp.become('service_role');
    assert public.claim_smelt_outbox('sweeper') = v_messages;
    assert public.settle_smelt_outbox(array[(v_messages -> 0 ->> 'id')::bigint]) = '{"settled": 1}';
    assert public.settle_smelt_outbox(array[(v_messages -> 0 ->> 'id')::bigint]) = '{"settled": 0}';
end
$$;
