-- The URL of a webhook has a scheme, a host and a usual port, without user information; its events are known; and a
-- user has a limited number of webhooks.
do $$
declare
    v_url text;
    v_id uuid;
begin
    perform pg_temp.become('authenticated', pg_temp.given_user());
    foreach v_url in array array[
        '', 'example.com', 'ftp://example.com', 'file:///etc/passwd', 'https://', 'https:///path',
        'https://user@example.com', 'https://user:password@example.com/', 'https://example.com#fragment',
        'https://example.com/#fragment', 'https://exa mple.com', 'https://example.com/a b', 'https://[::1]/',
        'https://example.com:0', 'https://example.com:25', 'https://example.com:70000', 'https://example.com:',
        'https://münchen.example', 'https://example.com/' || chr(10), 'https://example.com' || chr(10) || '/',
        'https://example.com/' || repeat('a', 2000), 'https://example.com\@evil.example'
    ] loop
        assert pg_temp.rejection(format('select public.create_smelt_webhook(%L)', v_url))
            = 'PT400 invalid_request', v_url;
    end loop;
    assert pg_temp.rejection('select public.create_smelt_webhook(null)') = 'PT400 invalid_request';
    assert pg_temp.rejection('select public.create_smelt_webhook(''https://example.com'', ''{}'')')
        = 'PT400 invalid_request';
    assert pg_temp.rejection('select public.create_smelt_webhook(''https://example.com'', ''{smelt.created}'')')
        = 'PT400 invalid_request';
    foreach v_url in array array[
        'https://example.com', 'HTTPS://Example.com/', 'https://example.com?a=b',
        'https://a-b.example.com:8443/p?q=%20', 'http://localhost:3000/hook', 'https://xn--mnchen-3ya.example/', 'https://192.0.2.1/'
    ] loop
        v_id := public.create_smelt_webhook(v_url) ->> 'id';
    end loop;
    assert (
        select w.events = '{smelt.completed,smelt.failed,batch.completed}'
        from public.smelt_webhooks as w
        where w.id = v_id
    );
    assert pg_temp.rejection(format('select public.update_smelt_webhook(%L, ''ftp://example.com'')', v_id))
        = 'PT400 invalid_request';
    perform public.create_smelt_webhook('https://example.com') from generate_series(8, 10);
    assert pg_temp.rejection('select public.create_smelt_webhook(''https://example.com'')') = 'PT400 invalid_request';
    perform public.delete_smelt_webhook(v_id);
    perform public.create_smelt_webhook('https://example.com');
end
$$;
