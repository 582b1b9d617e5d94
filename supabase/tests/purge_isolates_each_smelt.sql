-- A smelt that cannot be purged, because a row of the app references it or a trigger of the app rejects it, stops no
-- other. It is reported, skipped for an hour, and purged once it can be.
do $$
declare
    v_ids uuid[];
    v_referenced uuid;
    v_list jsonb;
    v_confirmed jsonb;
begin
    for i in 1..3 loop
        perform pg_temp.become('anon');
        v_ids := v_ids || (public.create_smelt(text_input => 'notes') ->> 'id')::uuid;
        perform public.cancel_smelt(v_ids[i]);
    end loop;
    v_referenced := v_ids[1];
    perform pg_temp.become('postgres');
    create table public.recordings (smelt_id uuid references public.smelts deferrable initially deferred);
    insert into public.recordings values (v_referenced);
    update public.smelts set completed_at = now() - interval '25 h';
    perform pg_temp.become('service_role');
    -- The one that cannot be purged is listed first, and does not use up the limit of the next call.
    for i in 1..3 loop
        v_list := public.list_expired_smelts('janitor', 1);
        assert jsonb_array_length(v_list -> 'smelts') = 1, v_list;
        v_confirmed := public.confirm_smelts_purged('{}', array[v_list -> 'smelts' ->> 0]::uuid[]);
        if v_list -> 'smelts' ->> 0 = v_referenced::text then
            assert v_confirmed -> 'purged' = '0' and jsonb_array_length(v_confirmed -> 'failed') = 1, v_confirmed;
            assert v_confirmed -> 'failed' -> 0 ->> 'smelt_id' = v_referenced::text, v_confirmed;
            assert v_confirmed -> 'failed' -> 0 ->> 'error' ~ 'recordings_smelt_id_fkey', v_confirmed;
        else
            assert v_confirmed = '{"purged": 1, "failed": []}', v_confirmed;
        end if;
    end loop;
    assert public.list_expired_smelts('janitor') = '{"objects": [], "smelts": []}';
    perform pg_temp.become('postgres');
    assert (select array_agg(s.id) = array[v_referenced] from public.smelts as s);
    assert (select f.error ~ 'recordings' from smelt.purge_failures as f where f.smelt_id = v_referenced);

    delete from public.recordings;
    update smelt.purge_failures set retry_at = now();
    perform pg_temp.become('service_role');
    assert public.list_expired_smelts('janitor') -> 'smelts' = jsonb_build_array(v_referenced);
    assert public.confirm_smelts_purged('{}', array[v_referenced]) = '{"purged": 1, "failed": []}';
    perform pg_temp.become('postgres');
    assert not exists (select from public.smelts) and not exists (select from smelt.purge_failures);
end
$$;

-- A trigger of the app rejects the update to `removing`, then the one to `removed`.
do $$
declare
    v_bad constant uuid := pg_temp.given_smelt(null);
    v_good constant uuid := pg_temp.given_smelt(null);
    v_list jsonb;
    v_confirmed jsonb;
begin
    perform pg_temp.become('anon');
    perform public.cancel_smelt(id) from unnest(array[v_bad, v_good]) as id;
    perform pg_temp.become('postgres');
    update public.smelts set completed_at = now() - interval '25 h', is_anonymous = false;
    create table public.bad as select v_bad as id;
    create function public.reject_bad() returns trigger language plpgsql as $f$
        begin
            if new.id in (select id from public.bad) then
                raise exception 'not this one';
            end if;
            return new;
        end
    $f$;
    create trigger reject_bad before update on public.smelts for each row execute function public.reject_bad();
    perform pg_temp.become('service_role');
    v_list := public.list_expired_smelts('janitor');
    assert v_list -> 'smelts' = jsonb_build_array(v_good) and jsonb_array_length(v_list -> 'objects') = 1, v_list;

    perform pg_temp.become('postgres');
    assert (select f.error = 'not this one' from smelt.purge_failures as f where f.smelt_id = v_bad);
    update public.bad set id = v_good;
    perform set_config('storage.allow_delete_query', 'true', true);
    delete from storage.objects where name like v_good || '/%';
    perform pg_temp.become('service_role');
    v_confirmed := public.confirm_smelts_purged('{}', array[v_good]);
    assert v_confirmed = jsonb_build_object(
        'purged', 0, 'failed', jsonb_build_array(jsonb_build_object('smelt_id', v_good, 'error', 'not this one'))
    ), v_confirmed;
end
$$;
