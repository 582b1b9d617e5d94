-- `worker_online` is true while any worker has sent a heartbeat or renewed leases within 60 s, and false once the last
-- one has left. Every returned state contains it, also an unchanged one; no event does.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_seq bigint;
    v_step record;
    v_many jsonb;
begin
    for v_step in
        select * from (values
            (1, 'select 1', false),
            (2, 'select public.heartbeat_smelt_worker(''one'', ''{}'')', true),
            (3, 'update smelt.workers set seen_at = now() - interval ''59 s''', true),
            (4, 'update smelt.workers set seen_at = now() - interval ''61 s''', false),
            (5, 'select public.renew_smelt_leases(''one'', ''[]'')', true),
            (6, 'select public.heartbeat_smelt_worker(''two'', ''{}'')', true),
            (7, 'select public.heartbeat_smelt_worker(''one'', ''{}'', leaving => true)', true),
            (8, 'select public.heartbeat_smelt_worker(''two'', ''{}'', leaving => true)', false)
        ) as s (number, statement, is_online)
        order by 1
    loop
        perform pg_temp.become(case when v_step.statement ~ 'update' then 'postgres' else 'service_role' end);
        execute v_step.statement;
        perform pg_temp.become('authenticated', v_user);
        v_seq := public.get_smelt(v_id) -> 'seq';
        v_many := (public.get_smelts(jsonb_build_array(jsonb_build_object('id', v_id))) -> 'smelts')
            || (public.get_smelts(jsonb_build_array(jsonb_build_object('id', v_id, 'after_seq', v_seq))) -> 'smelts');
        assert public.get_smelt(v_id) -> 'worker_online' = to_jsonb(v_step.is_online), v_step;
        assert public.get_smelt(v_id, v_seq) -> 'worker_online' = to_jsonb(v_step.is_online), v_step;
        assert v_many -> 0 -> 'worker_online' = to_jsonb(v_step.is_online), v_step;
        assert v_many -> 1 -> 'worker_online' = to_jsonb(v_step.is_online), v_step;
        assert public.submit_smelt(v_id) -> 'worker_online' = to_jsonb(v_step.is_online), v_step;
    end loop;
    perform pg_temp.become('postgres');
    assert exists (select from realtime.messages as m where m.event = 'progress');
    assert not exists (select from realtime.messages as m where m.payload ? 'worker_online');
end
$$;
