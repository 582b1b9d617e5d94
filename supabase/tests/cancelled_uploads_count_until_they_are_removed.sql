-- A smelt that was cancelled after an upload counts toward the limit until its audio is removed; one without an upload
-- does not.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_who uuid;
    v_created jsonb;
    v_id uuid;
begin
    update smelt.limits set max_open = 1, anonymous_max_open = 1;
    foreach v_who in array array[null, v_user] loop
        perform pg_temp.become(case when v_who is null then 'anon' else 'authenticated' end, v_who);
        perform public.cancel_smelt((public.create_smelt(files => pg_temp.recordings(1)) ->> 'id')::uuid);
        v_created := public.create_smelt(files => pg_temp.recordings(1));
        v_id := v_created ->> 'id';
        perform pg_temp.upload(v_created);
        perform public.cancel_smelt(v_id);
        assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'')') = 'PT429 too_many_open';

        perform pg_temp.become('postgres');
        perform set_config('storage.allow_delete_query', 'true', true);
        delete from storage.objects;
        perform pg_temp.become('service_role');
        perform public.list_expired_smelts('janitor');
        assert public.confirm_smelts_purged('{}', array[v_id]) @> '{"failed": []}';
        perform pg_temp.become(case when v_who is null then 'anon' else 'authenticated' end, v_who);
        assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'')') is null;
    end loop;
end
$$;
