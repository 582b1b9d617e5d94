-- Every rejected request has an HTTP status and a stable code as hint.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_case record;
    v_rejection text;
begin
    perform pg_temp.become('authenticated', v_user);
    for v_case in
        select * from (values
            ('files => ''[]''', 'PT400 no_input'),
            ('text_input => E'' \n ''', 'PT400 no_input'),
            ('files => pg_temp.recordings(1), text_input => ''notes''', 'PT400 mixed_input'),
            ('files => pg_temp.recordings(6)', 'PT400 too_many_files'),
            ('files => pg_temp.recordings(1), mode => ''combine''', 'PT400 combine_requires_multiple'),
            ('text_input => ''notes'', mode => ''combine''', 'PT400 combine_requires_multiple'),
            ('text_input => repeat(''x'', 50001)', 'PT413 file_too_large'),
            ('files => ''[{"filename": "a.mp3", "size_bytes": 524288001}]''', 'PT413 file_too_large'),
            ('files => ''[{"filename": "a.txt", "size_bytes": 1}]''', 'PT400 invalid_format'),
            ('files => ''[{"filename": "a.mp3"}]''', 'PT400 invalid_request'),
            ('files => ''[{"filename": "a.mp3", "size_bytes": -1}]''', 'PT400 invalid_request'),
            ('files => ''[{"filename": " ", "size_bytes": 1}]''', 'PT400 invalid_request'),
            ('files => E''[{"filename": "a\\u001b[2J.mp3", "size_bytes": 1}]''', 'PT400 invalid_request'),
            ('files => E''[{"filename": "a\\n.mp3", "size_bytes": 1}]''', 'PT400 invalid_request'),
            ('files => E''[{"filename": "a\\u001f.mp3", "size_bytes": 1}]''', 'PT400 invalid_request'),
            ('files => E''[{"filename": "a\\u007f.mp3", "size_bytes": 1}]''', 'PT400 invalid_request'),
            ('files => E''[{"filename": "a\\u009b2J.mp3", "size_bytes": 1}]''', 'PT400 invalid_request'),
            ('files => ''["a.mp3"]''', 'PT400 invalid_request'),
            ('files => ''{}''', 'PT400 invalid_request'),
            ('text_input => ''notes'', mode => ''both''', 'PT400 invalid_request'),
            ('text_input => ''notes'', default_prompt_names => ''{haiku}''', 'PT400 prompt_not_found'),
            ('text_input => ''notes'', user_prompt_id => gen_random_uuid()', 'PT400 prompt_not_found'),
            ('text_input => ''notes'', batch_id => gen_random_uuid()', 'PT404 not_found'),
            ('text_input => ''notes'', idempotency_key => ''''', 'PT400 invalid_request'),
            ('files => ''[{"filename": "empty.mp3", "size_bytes": 0}]''', null),
            ('files => ''[{"filename": "no extension", "size_bytes": 1}]''', 'PT400 invalid_format'),
            ('files => E''[{"filename": "\\u00a0\\u00fc \\u4f1a.mp3", "size_bytes": 1}]''', null),
            ('files => ''[]'', text_input => ''notes''', null)
        ) as c (arguments, expected)
    loop
        v_rejection := pg_temp.rejection(format('select public.create_smelt(%s)', v_case.arguments));
        assert v_rejection is not distinct from v_case.expected, format('%s: %s', v_case, v_rejection);
    end loop;
    for v_case in
        select unnest(array['get', 'submit', 'cancel', 'retry', 'delete']) as verb
    loop
        v_rejection := pg_temp.rejection(format('select public.%s_smelt(gen_random_uuid())', v_case.verb));
        assert v_rejection = 'PT404 not_found', format('%s: %s', v_case, v_rejection);
    end loop;
end
$$;
