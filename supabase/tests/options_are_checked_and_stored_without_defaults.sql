-- Options that a smelt cannot have are rejected with `invalid_options` and the name of the option.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_case record;
    v_message text;
begin
    update smelt.limits set max_keep_audio_h = 48;
    perform pg_temp.become('authenticated', v_user);
    for v_case in
        select * from (values
            ('[]', '"options" must be an object.'),
            ('"de"', '"options" must be an object.'),
            ('{"tongue": "de"}', '"tongue" is not an option.'),
            ('{"tongue": null}', '"tongue" is not an option.'),
            ('{"language": "deutsch"}', '"language" must be the code of a language, such as "de"; "deutsch" is not.'),
            ('{"language": "DE"}', '"language" must be the code of a language, such as "de"; "DE" is not.'),
            ('{"language": 1}', '"language" must be the code of a language, such as "de"; 1 is not.'),
            ('{"task": "summarize"}', '"task" must be "transcribe" or "translate".'),
            ('{"task": true}', '"task" must be "transcribe" or "translate".'),
            ('{"vocabulary": "Zoe"}', '"vocabulary" must be a list of words and names.'),
            ('{"vocabulary": ["Zoe", 1]}', '"vocabulary" must be a list of words and names.'),
            ('{"vocabulary": [null]}', '"vocabulary" must be a list of words and names.'),
            ('{"vocabulary": [""]}', '"vocabulary" must have words and names of 1 to 100 characters.'),
            ('{"vocabulary": [" \u3000\u00a0"]}', '"vocabulary" must have words and names of 1 to 100 characters.'),
            (
                format('{"vocabulary": ["%s"]}', repeat('x', 101)),
                '"vocabulary" must have words and names of 1 to 100 characters.'
            ),
            (
                format('{"vocabulary": %s}', to_jsonb(array_fill('x'::text, array[101]))),
                '"vocabulary" may have 100 words and names; these are 101.'
            ),
            ('{"vocabulary": ["a\nb"]}', '"vocabulary" must not contain control characters.'),
            ('{"vocabulary": ["a\u001b[2J"]}', '"vocabulary" must not contain control characters.'),
            ('{"vocabulary": ["a\u009b"]}', '"vocabulary" must not contain control characters.'),
            ('{"word_times": "yes"}', '"word_times" must be true or false.'),
            ('{"speakers": 2}', '"speakers" must be true or false.'),
            (
                '{"speakers": true, "channels": "separate"}',
                '"speakers" needs "channels": "mixed"; else each channel is a speaker.'
            ),
            ('{"channels": "left"}', '"channels" must be "mixed" or "separate".'),
            ('{"channels": 2}', '"channels" must be "mixed" or "separate".'),
            ('{"model": ""}', '"model" must be the name of a model, of 1 to 200 characters.'),
            ('{"model": 3}', '"model" must be the name of a model, of 1 to 200 characters.'),
            ('{"model": "small\u0007"}', '"model" must be the name of a model, of 1 to 200 characters.'),
            (
                format('{"model": "%s"}', repeat('x', 201)),
                '"model" must be the name of a model, of 1 to 200 characters.'
            ),
            ('{"keep_audio_h": "2"}', '"keep_audio_h" must be a number of hours.'),
            ('{"keep_audio_h": -1}', '"keep_audio_h" must not be negative.'),
            ('{"keep_audio_h": 48.5}', '"keep_audio_h" is limited to 48 hours on this project.'),
            ('{"keep_audio_h": 1e400}', '"keep_audio_h" is limited to 48 hours on this project.')
        ) as c (options, message)
    loop
        begin
            perform public.create_smelt(files => pg_temp.recordings(1), options => v_case.options::jsonb);
            raise exception '% is accepted', v_case.options;
        exception when sqlstate 'PT400' then
            get stacked diagnostics v_message = message_text;
        end;
        assert v_message = v_case.message, format('%s: %s', v_case, v_message);
        assert pg_temp.rejection(format(
            'select public.create_smelt(files => pg_temp.recordings(1), options => %L)', v_case.options
        )) = 'PT400 invalid_options', v_case.options;
    end loop;
    -- PostgreSQL itself rejects a NUL.
    assert pg_temp.rejection(
        'select public.create_smelt(files => pg_temp.recordings(1), options => ''{"model": "\u0000"}'')'
    ) = '22P05';
end
$$;

-- Hours are rounded to four decimals.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_id uuid;
begin
    perform pg_temp.become('authenticated', v_user);
    v_id := public.create_smelt(pg_temp.recordings(1), options => '{"keep_audio_h": 1e-400}') ->> 'id';
    assert public.get_smelt(v_id) -> 'options' = '{"keep_audio_h": 0}';
end
$$;

-- With a text, only a vocabulary can be requested; default values request nothing.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_option text;
    v_id uuid;
begin
    perform pg_temp.become('authenticated', v_user);
    foreach v_option in array array[
        '"language": "de"', '"task": "translate"', '"word_times": true', '"word_times": false',
        '"channels": "separate"', '"model": "small"', '"keep_audio_h": 0'
    ] loop
        assert pg_temp.rejection(
            format('select public.create_smelt(text_input => ''notes'', options => ''{%s}'')', v_option)
        ) = 'PT400 invalid_options', v_option;
    end loop;
    v_id := public.create_smelt(text_input => 'notes', options => '{
        "language": null, "task": "transcribe", "word_times": null, "channels": "mixed", "model": null,
        "keep_audio_h": null, "vocabulary": [" Zoë\u00a0", "Ada Lovelace"]
    }') ->> 'id';
    assert public.get_smelt(v_id) -> 'options' = '{"vocabulary": ["Zoë", "Ada Lovelace"]}', public.get_smelt(v_id);
    perform pg_temp.become('postgres');
    assert pg_temp.claim() -> 'options' = '{"vocabulary": ["Zoë", "Ada Lovelace"]}';
end
$$;
