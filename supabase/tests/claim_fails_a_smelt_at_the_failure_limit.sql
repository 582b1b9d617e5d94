-- The third expired lease with a risk and without progress ends the smelt: the next claim fails it and sends the event.
-- The owner reads how often the worker stopped, and during what.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim jsonb;
    v_outbox smelt.outbox;
begin
    update smelt.limits set retry_base_s = 0;
    for i in 1..3 loop
        v_claim := pg_temp.claim();
        assert (v_claim ->> 'id')::uuid = v_id and (v_claim ->> 'failure_count')::integer = i - 1, v_claim;
        perform pg_temp.stop(v_claim, 'decode', 'decoding');
    end loop;
    assert pg_temp.claim() is null;
    assert (pg_temp.smelt(v_id)).status = 'failed' and (pg_temp.smelt(v_id)).error_code = 'internal_error';
    assert (pg_temp.smelt(v_id)).error_message = 'The worker stopped 3 times while decoding this file.';
    assert (select f.error_message from public.smelt_files as f where f.smelt_id = v_id)
        = 'The worker stopped 3 times while decoding this file.';
    assert not exists (select from smelt.suspects), 'an ended smelt is not a suspect';
    select o.* into strict v_outbox from smelt.outbox as o where o.topic = 'smelt:' || v_id;
    assert v_outbox.event = 'failed';
    assert exists (
        select from realtime.messages as m
        where m.topic = v_outbox.topic and m.event = 'failed' and m.private
            and m.payload ->> 'event_id' = v_outbox.event_id::text
    ), 'an end that the database made is also broadcast by it, under the same event id';
    perform pg_temp.become('service_role');
    assert public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, '[]') ->> 'error_code' = 'internal_error';
end
$$;
