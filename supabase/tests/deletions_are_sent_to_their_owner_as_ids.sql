-- A deletion is sent to the owner's private feed as ids, at most 500 in a message; not for a smelt without an owner,
-- and not to an owner who is deleted with the smelts. The replica identity contains the id alone.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
    v_one constant uuid := pg_temp.given_smelt(v_user);
    v_kept constant uuid := pg_temp.given_smelt(v_other);
    v_sent record;
begin
    perform pg_temp.become('authenticated', v_user);
    perform public.delete_smelt(v_one);
    perform pg_temp.become('postgres');
    select m.topic, m.private, m.payload - 'id' as payload into strict v_sent
    from realtime.messages as m
    where m.event = 'smelts_deleted';
    assert v_sent.topic = 'smelt-feed:' || v_user and v_sent.private, v_sent;
    assert v_sent.payload = jsonb_build_object('ids', jsonb_build_array(v_one)), v_sent;
    delete from realtime.messages;

    insert into public.smelts (user_id, audio_state)
    select owner, 'none' from generate_series(1, 1001) cross join unnest(array[v_user, v_other, null]) as owner;
    delete from public.smelts as s where s.id <> v_kept;
    assert (
        select count(*) = 6 and max(jsonb_array_length(m.payload -> 'ids')) = 500
        from realtime.messages as m
        where m.topic in ('smelt-feed:' || v_user, 'smelt-feed:' || v_other)
    );
    assert (
        select count(distinct i.id) = 2002
        from realtime.messages as m
        cross join lateral jsonb_array_elements_text(m.payload -> 'ids') as i (id)
    );
    delete from realtime.messages;

    delete from auth.users where id = v_other;
    assert not exists (select from public.smelts as s where s.id = v_kept);
    assert not exists (select from realtime.messages as m where m.event = 'smelts_deleted');
    assert (
        select array_agg(c.relreplident::text) = '{d,d}'
        from pg_catalog.pg_class as c
        where c.oid in ('public.smelts'::regclass, 'public.smelt_files'::regclass)
    );
end
$$;
