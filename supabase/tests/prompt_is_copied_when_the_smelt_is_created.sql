-- A user's prompt is used as it was when the smelt was created; a prompt of another user is not found. Its length is
-- limited.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_prompt uuid;
    v_claim jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    insert into public.smelt_prompts (name, content) values ('haiku', 'As a haiku.') returning id into v_prompt;
    assert pg_temp.rejection('insert into public.smelt_prompts (name, content) values (''long'', repeat(''x'', 4001))')
        = 'PT400 invalid_request';
    perform public.create_smelt(text_input => 'notes', user_prompt_id => v_prompt);
    delete from public.smelt_prompts where id = v_prompt;
    v_claim := pg_temp.claim();
    assert v_claim -> 'user_prompt'
        = jsonb_build_object('id', v_prompt, 'name', 'haiku', 'content', 'As a haiku.'), v_claim;
    assert v_claim -> 'default_prompt_names' = '[]', v_claim;

    perform pg_temp.become('authenticated', v_user);
    insert into public.smelt_prompts (name, content) values ('mine', 'Mine.') returning id into v_prompt;
    perform pg_temp.become('authenticated', pg_temp.given_user());
    assert pg_temp.rejection(
        format('select public.create_smelt(text_input => ''notes'', user_prompt_id => %L)', v_prompt)
    ) = 'PT400 prompt_not_found';
    assert pg_temp.rejection(format('update public.smelt_prompts set name = ''x'' where id = %L', v_prompt)) is null;
    perform pg_temp.become('postgres');
    assert (select name = 'mine' from public.smelt_prompts where id = v_prompt);
end
$$;
