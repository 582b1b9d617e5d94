-- The owner gets a stored notification and a live one with the same id, and may only mark it as seen and read.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_claim constant jsonb := pg_temp.claim();
    v_message jsonb;
    v_count bigint;
begin
    perform pg_temp.become('service_role');
    select m into strict v_message
    from jsonb_array_elements(
        public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim)) -> 'outbox'
    ) as m
    where m ->> 'event' = 'new_notification';
    assert v_message ->> 'topic' = 'smelt-notifications:' || v_user, v_message;
    assert v_message -> 'payload' ->> 'title' = 'Ready: 1.mp3', v_message;
    perform pg_temp.become('authenticated', v_user);
    assert (select to_jsonb(n) <@ (v_message -> 'payload') from public.smelt_notifications as n), v_message;
    update public.smelt_notifications set seen_at = now(), read_at = now();
    get diagnostics v_count = row_count;
    assert v_count = 1;
    assert pg_temp.rejection('update public.smelt_notifications set title = ''mine''') = '42501';
    assert pg_temp.rejection('delete from public.smelt_notifications') = '42501';
    perform pg_temp.become('authenticated', pg_temp.given_user());
    update public.smelt_notifications set seen_at = null;
    get diagnostics v_count = row_count;
    assert v_count = 0;
end
$$;
