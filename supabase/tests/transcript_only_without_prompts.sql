-- An empty list of prompts applies none, without a list `summarize` applies, or the user's prompt alone. A text needs a
-- prompt.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_prompt uuid;
    v_names jsonb;
begin
    perform pg_temp.become('authenticated', v_user);
    insert into public.smelt_prompts (name, content) values ('mine', 'Shorten.') returning id into v_prompt;
    v_names := public.create_smelt(pg_temp.recordings(1), default_prompt_names => '{}') -> 'default_prompt_names';
    assert v_names = '[]', v_names;
    v_names := public.create_smelt(pg_temp.recordings(1)) -> 'default_prompt_names';
    assert v_names = '["summarize"]', v_names;
    v_names := public.create_smelt(pg_temp.recordings(1), user_prompt_id => v_prompt) -> 'default_prompt_names';
    assert v_names = '[]', v_names;
    v_names := public.create_smelt(
        text_input => 'notes', default_prompt_names => '{}', user_prompt_id => v_prompt
    ) -> 'default_prompt_names';
    assert v_names = '[]', v_names;
    assert pg_temp.rejection('select public.create_smelt(text_input => ''notes'', default_prompt_names => ''{}'')')
        = 'PT400 invalid_request';
end
$$;
