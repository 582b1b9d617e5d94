-- Nobody but the owner can find out that an owned smelt exists, by functions or in tables.
do $$
declare
    v_owner constant uuid := pg_temp.given_user();
    v_id constant uuid := pg_temp.given_smelt(v_owner);
    v_claim constant jsonb := pg_temp.claim();
    v_tables constant text[] := '{smelts,smelt_files,smelt_segments,smelt_results,smelt_notifications}';
    v_role text;
    v_verb text;
    v_table text;
    v_count bigint;
begin
    perform pg_temp.become('service_role');
    perform public.report_smelt_progress(
        v_id, (v_claim ->> 'attempt')::bigint, 'transcribing', segments => jsonb_build_array(jsonb_build_object(
            'file_id', v_claim -> 'files' -> 0 ->> 'id', 'index', 0, 'start', 0, 'end', 1, 'text', 'hello'
        ))
    );
    perform public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
    perform pg_temp.become('authenticated', v_owner);
    foreach v_table in array v_tables loop
        execute format('select count(*) from public.%I', v_table) into v_count;
        assert v_count = 1, v_table;
    end loop;
    assert public.get_smelt(v_id) ->> 'status' = 'completed';

    foreach v_role in array array['anon', 'authenticated'] loop
        perform pg_temp.become(v_role, case v_role when 'authenticated' then pg_temp.given_user() end);
        foreach v_verb in array array['get', 'submit', 'cancel', 'retry', 'delete'] loop
            assert pg_temp.rejection(format('select public.%s_smelt(%L)', v_verb, v_id)) = 'PT404 not_found', v_verb;
        end loop;
        assert public.get_smelts(jsonb_build_array(jsonb_build_object('id', v_id)))
            = jsonb_build_object('smelts', '[]'::jsonb, 'missing', jsonb_build_array(v_id));
        foreach v_table in array v_tables loop
            if v_role = 'anon' then
                assert pg_temp.rejection(format('select from public.%I', v_table)) = '42501', v_table;
            else
                execute format('select count(*) from public.%I', v_table) into v_count;
                assert v_count = 0, v_table;
            end if;
        end loop;
    end loop;
end
$$;
