-- Metadata is an object of at most 4 KiB. It is in the row, the snapshot and the notification, as it was given.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    -- With its key and punctuation, `{"a": "..."}` has 9 more bytes than its value.
    v_largest constant jsonb := jsonb_build_object('a', repeat('ü', 2043) || 'x');
    v_metadata constant jsonb := '{"course": 17, "tags": ["physics", null], "none": null}';
    v_case record;
    v_id uuid;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    for v_case in
        select * from (values
            ('[1]'::jsonb, '"metadata" must be an object.'),
            ('"x"', '"metadata" must be an object.'),
            (v_largest || '{"b": 1}', '"metadata" has 4104 bytes as JSON; 4096 are allowed.')
        ) as c (metadata, message)
    loop
        begin
            perform public.create_smelt(text_input => 'notes', metadata => v_case.metadata);
            raise exception '% is accepted', v_case.metadata;
        exception when sqlstate 'PT400' then
            assert sqlerrm = v_case.message, format('%s: %s', v_case.message, sqlerrm);
        end;
    end loop;
    assert octet_length(v_largest::text) = 4096, octet_length(v_largest::text);
    v_id := public.create_smelt(text_input => 'notes', metadata => v_largest) ->> 'id';
    assert public.get_smelt(v_id) -> 'metadata' = v_largest;
    perform public.cancel_smelt(v_id);

    v_id := public.create_smelt(text_input => 'notes', metadata => v_metadata) ->> 'id';
    assert public.get_smelt(v_id) -> 'metadata' = v_metadata;
    assert (select count(*) = 1 from public.smelts where metadata ->> 'course' = '17');
    v_claim := pg_temp.claim();
    perform pg_temp.become('service_role');
    perform public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim));
    perform pg_temp.become('authenticated', v_user);
    assert (select data -> 'metadata' = v_metadata from public.smelt_notifications where smelt_id = v_id);
    v_id := public.create_smelt(text_input => 'notes') ->> 'id';
    assert public.get_smelt(v_id) @> '{"options": {}, "metadata": {}}';
end
$$;
