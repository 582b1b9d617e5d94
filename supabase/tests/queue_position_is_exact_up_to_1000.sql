-- The place in the queue is exact up to 1,000; 1001 stands for any above. Health counts waiting smelts up to 1001.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_ids uuid[];
    v_delayed uuid;
begin
    with waiting as (
        insert into public.smelts (user_id, audio_state, submitted_at, claimable_at, queue_rank)
        select v_user, 'none', now(), now(), n from generate_series(1, 1002) as n
        returning id, queue_rank
    )
    select array_agg(w.id order by w.queue_rank) into v_ids from waiting as w;
    insert into public.smelts (user_id, audio_state, submitted_at, claimable_at)
    values (v_user, 'none', now(), now() + interval '1 h')
    returning id into v_delayed;

    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_ids[1]) ->> 'queue_position' = '1';
    assert public.get_smelt(v_ids[1000]) ->> 'queue_position' = '1000';
    assert (
        select array_agg(s ->> 'queue_position')
        from jsonb_array_elements(public.get_smelts(jsonb_build_array(
            jsonb_build_object('id', v_ids[999]), jsonb_build_object('id', v_ids[1001]),
            jsonb_build_object('id', v_ids[1002], 'after_seq', 1), jsonb_build_object('id', v_delayed)
        )) -> 'smelts') as s
    ) = '{999,1001,1001,1001}';

    perform pg_temp.become('service_role');
    assert public.get_smelt_health() -> 'waiting' = '1001', public.get_smelt_health();
    perform pg_temp.become('postgres');
    delete from public.smelts where queue_rank between 3 and 1001;
    perform pg_temp.become('service_role');
    assert public.get_smelt_health() -> 'waiting' = '3', public.get_smelt_health();
    assert public.get_smelt(v_ids[1002]) ->> 'queue_position' = '3';
    assert public.get_smelt(v_delayed) ->> 'queue_position' = '4', 'smelts with a delay follow those that are due';
end
$$;
