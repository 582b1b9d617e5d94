-- A smelt that a row of the app references, by a foreign key without `on delete`, is not deleted. The error names the
-- table, and nothing has changed, also if the constraint is deferred.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_user);
    v_action text;
    v_rejection text;
    v_sentence text;
begin
    foreach v_action in array array['', 'on delete restrict', 'deferrable initially deferred'] loop
        perform pg_temp.become('postgres');
        execute format('create table public.recordings (smelt_id uuid references public.smelts %s)', v_action);
        insert into public.recordings values (v_id);
        perform pg_temp.become('authenticated', v_user);
        v_rejection := pg_temp.rejection(format('select public.delete_smelt(%L)', v_id));
        assert v_rejection = 'PT409 still_referenced', format('%s: %s', v_action, v_rejection);
        begin
            perform public.delete_smelt(v_id);
        exception when others then
            v_sentence := sqlerrm;
        end;
        assert v_sentence = 'The table public.recordings still references this smelt: its foreign key '
            'recordings_smelt_id_fkey needs "on delete set null" or "on delete cascade".', v_sentence;
        assert public.get_smelt(v_id) ->> 'status' = 'pending', 'it was not cancelled';
        perform pg_temp.become('postgres');
        set constraints all immediate;
        drop table public.recordings;
    end loop;

    create table public.recordings (smelt_id uuid references public.smelts on delete set null);
    insert into public.recordings values (v_id);
    perform pg_temp.become('authenticated', v_user);
    assert public.delete_smelt(v_id) = '{"deleted": true}';
    perform pg_temp.become('postgres');
    assert (select array_agg(r.smelt_id) = array[null::uuid] from public.recordings as r);
end
$$;
