-- A webhook is read and changed by its owner and by the service. Visitors and anonymous sign-ins have none.
do $$
declare
    v_owner constant uuid := pg_temp.given_user();
    v_id uuid;
    v_project uuid;
    v_call text;
    v_calls constant text[] := array[
        'select public.update_smelt_webhook(%L, enabled => true)', 'select public.rotate_smelt_webhook_secret(%L)',
        'select public.test_smelt_webhook(%L)', 'select public.get_smelt_webhook_deliveries(%L)',
        'select public.delete_smelt_webhook(%L)'
    ];
begin
    perform pg_temp.become('service_role');
    v_project := public.create_smelt_webhook('https://example.com/project') ->> 'id';
    perform pg_temp.become('authenticated', v_owner);
    v_id := public.create_smelt_webhook('https://example.com/hook') ->> 'id';
    assert (select array_agg(w.id) from public.smelt_webhooks as w) = array[v_id];
    assert pg_temp.rejection('update public.smelt_webhooks set url = ''https://example.org''') = '42501';
    assert pg_temp.rejection('delete from public.smelt_webhooks') = '42501';
    assert pg_temp.rejection('insert into public.smelt_webhooks (url, events) values ('''', ''{}'')') = '42501';
    foreach v_call in array v_calls loop
        assert pg_temp.rejection(format(v_call, v_project)) = 'PT404 not_found', v_call;
        perform pg_temp.become('authenticated', pg_temp.given_user());
        assert pg_temp.rejection(format(v_call, v_id)) = 'PT404 not_found', v_call;
        perform pg_temp.become('anon');
        assert pg_temp.rejection(format(v_call, v_id)) = '42501', v_call;
        perform pg_temp.become('service_role');
        assert pg_temp.rejection(format(v_call, v_id)) is null, v_call;
        perform pg_temp.become('authenticated', v_owner);
        assert pg_temp.rejection(format(v_call, v_id)) is null, v_call;
    end loop;
    perform pg_temp.become('authenticated', pg_temp.given_user());
    assert (select count(*) from public.smelt_webhooks) = 0;
    perform pg_temp.become('authenticated', pg_temp.given_user(), true);
    assert pg_temp.rejection('select public.create_smelt_webhook(''https://example.com'')') = 'PT403 not_allowed';
    perform pg_temp.become('anon');
    assert pg_temp.rejection('select from public.smelt_webhooks') = '42501';
    assert pg_temp.rejection('select public.create_smelt_webhook(''https://example.com'')') = '42501';
end
$$;
