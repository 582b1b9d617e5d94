-- Channels admit their owner, or for a smelt without an owner each caller with its id; no client can send.
do $$
declare
    v_owner constant uuid := pg_temp.given_user();
    v_owned constant uuid := pg_temp.given_smelt(v_owner);
    v_ownerless constant uuid := pg_temp.given_smelt(null);
    v_batch uuid;
    v_case record;
    v_count bigint;
begin
    perform pg_temp.become('authenticated', v_owner);
    v_batch := public.create_smelt_batch('monday') ->> 'id';
    for v_case in
        select c.topic, r.role, r.who, r.role = any (c.roles) as allowed
        from (values
            ('smelt:' || v_owned, '{owner}'::text[]),
            ('smelt:' || v_ownerless, '{owner,other,anon}'),
            ('smelt:' || gen_random_uuid(), '{}'),
            ('smelt-batch:' || v_batch, '{owner}'),
            ('smelt-notifications:' || v_owner, '{owner}'),
            ('smelt-feed:' || v_owner, '{owner}'),
            ('smelt-workers', '{}'),
            ('smelt:nonsense', '{}'),
            ('smelts:' || v_owned, '{}')
        ) as c (topic, roles)
        cross join (values ('owner', v_owner), ('other', pg_temp.given_user()), ('anon', null)) as r (role, who)
    loop
        perform pg_temp.become('postgres');
        perform set_config('realtime.topic', v_case.topic, true);
        insert into realtime.messages (topic, extension) values (v_case.topic, 'broadcast'), (v_case.topic, 'presence');
        perform pg_temp.become(case when v_case.role = 'anon' then 'anon' else 'authenticated' end, v_case.who);
        select count(*) into v_count from realtime.messages where topic = v_case.topic and extension = 'presence';
        assert v_count = 0, v_case;
        select count(*) into v_count from realtime.messages where topic = v_case.topic and not private;
        assert (v_count > 0) = v_case.allowed, v_case;
        assert pg_temp.rejection(format(
            'insert into realtime.messages (topic, extension) values (%L, ''broadcast'')', v_case.topic
        )) = '42501', v_case;
    end loop;
end
$$;
