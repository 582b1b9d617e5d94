-- A smelt without an owner is accessible to every caller by its id, and nobody can list it.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(null);
    v_count bigint;
begin
    perform pg_temp.become('anon');
    assert public.get_smelt(v_id) ->> 'status' = 'pending';
    perform pg_temp.become('authenticated', pg_temp.given_user());
    assert public.get_smelt(v_id) ->> 'status' = 'pending';
    select count(*) into v_count from public.smelts;
    assert v_count = 0;
    perform pg_temp.become('anon');
    assert public.cancel_smelt(v_id) ->> 'error_code' = 'cancelled';
    perform pg_temp.become('postgres');
    assert not exists (select from public.smelt_notifications);
    assert (select client_hash is null from smelt.requests), 'the hashed address is removed when the smelt ends';
end
$$;
