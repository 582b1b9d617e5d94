-- Visitors and anonymous sign-ins have lower limits: one file of 25 MiB, no `combine`, three open smelts.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
begin
    foreach v_id in array array[null, v_user] loop
        perform pg_temp.become(case when v_id is null then 'anon' else 'authenticated' end, v_id, v_id is not null);
        assert pg_temp.rejection('select public.create_smelt(files => pg_temp.recordings(2))') = 'PT400 too_many_files';
        assert pg_temp.rejection('select public.create_smelt(files => pg_temp.recordings(2), mode => ''combine'')')
            = 'PT403 combine_requires_auth';
        assert pg_temp.rejection(
            'select public.create_smelt(files => ''[{"filename": "a.mp3", "size_bytes": 26214401}]'')'
        ) = 'PT413 file_too_large';
        for i in 1..3 loop
            perform public.create_smelt(text_input => 'notes');
        end loop;
        assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'')') = 'PT429 too_many_open';
    end loop;

    perform pg_temp.become('postgres');
    assert (select count(*) = 3 from public.smelts where is_anonymous and user_id = v_user);
    assert (pg_temp.claim() ->> 'max_duration_s') = '1800';
    -- A visitor with another address has a count of its own.
    perform set_config('request.headers', '{"cf-connecting-ip": "198.51.100.7"}', true);
    perform pg_temp.become('anon');
    assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'')') is null;
    perform pg_temp.become('postgres');
    -- Headers that any client can set do not make another visitor.
    perform set_config('request.headers', '{"x-forwarded-for": "1.2.3.4", "x-real-ip": "1.2.3.4"}', true);
    assert smelt.current_client() = encode(sha256('unknown'), 'hex');
    -- The operator names the header of another proxy, which has added the last address.
    update smelt.limits set client_ip_header = 'x-forwarded-for';
    perform set_config('request.headers', '{"x-forwarded-for": "1.2.3.4, 198.51.100.7"}', true);
    assert smelt.current_client() = encode(sha256('198.51.100.7'), 'hex');
end
$$;
