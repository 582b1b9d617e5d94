-- The message of a rejection contains no control characters, for any input, and at most 400 characters:
-- PostgREST writes it into the status line of HTTP.
do $$
declare
    v_name text;
    v_message text;
begin
    perform pg_temp.become('authenticated', pg_temp.given_user());
    foreach v_name in array array[
        E'x\r\nSet-Cookie: a=b\r\n\r\n', E'tab\tand\u001b[2J', E'\u007f\u0085\u009f\u2028', repeat('long ', 1000),
        'Überblick'
    ] loop
        begin
            perform public.create_smelt(text_input => 'notes', default_prompt_names => array[v_name]);
            raise exception 'accepted: %', v_name;
        exception when sqlstate 'PT400' then
            v_message := sqlerrm;
        end;
        assert v_message !~ '[\u0001-\u001F\u007F-\u009F\u2028\u2029]', v_message;
        assert char_length(v_message) <= 400, v_message;
        assert v_name <> 'Überblick' or v_message ~ '"Überblick"', v_message;
    end loop;
end
$$;
