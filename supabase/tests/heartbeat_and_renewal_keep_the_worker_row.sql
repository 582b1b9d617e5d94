-- A heartbeat and a renewal keep the row of a worker. A worker that leaves is removed, and one not seen for a week.
do $$
begin
    perform pg_temp.become('service_role');
    perform public.heartbeat_smelt_worker('one', '{"model": "demo"}');
    perform public.heartbeat_smelt_worker('one', '{"model": "small"}');
    perform public.heartbeat_smelt_worker('two', '{}', host => 'machine');
    perform pg_temp.become('postgres');
    assert (select info = '{"model": "small"}' from smelt.workers where worker_id = 'one');
    assert (select jsonb_object_agg(worker_id, host) from smelt.workers) = '{"one": "one", "two": "machine"}';
    update smelt.workers set seen_at = now() - interval '8 days';
    perform pg_temp.become('service_role');
    perform public.renew_smelt_leases('one', '[]');
    perform public.list_expired_smelts('janitor');
    perform pg_temp.become('postgres');
    assert (select array_agg(worker_id) = '{one}' from smelt.workers);
    perform pg_temp.become('service_role');
    assert public.heartbeat_smelt_worker('one', '{}', leaving => true) = '{}';
    perform pg_temp.become('postgres');
    assert not exists (select from smelt.workers);
end
$$;
