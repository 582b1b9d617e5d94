-- Open and unsubmitted smelts count toward the limit, ended ones do not; a retry counts again.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
begin
    update smelt.limits set max_open = 2, anonymous_max_open = 1;
    foreach v_id in array array[null, v_user] loop
        perform pg_temp.become(case when v_id is null then 'anon' else 'authenticated' end, v_id);
        v_id := public.create_smelt(text_input => 'notes', submit => false) ->> 'id';
        if (pg_temp.smelt(v_id)).user_id is not null then
            perform public.create_smelt(files => pg_temp.recordings(1));
        end if;
        assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'')') = 'PT429 too_many_open';
        perform public.cancel_smelt(v_id);
        perform public.create_smelt(text_input => 'notes');
        assert pg_temp.rejection(format('select public.retry_smelt(%L)', v_id)) = 'PT429 too_many_open';
    end loop;
end
$$;
