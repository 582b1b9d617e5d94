-- `completed` above 200 KiB is sent without results and is marked so; `get_smelt` returns them.
do $$
declare
    v_id constant uuid := pg_temp.given_smelt(pg_temp.given_user());
    v_claim constant jsonb := pg_temp.claim();
    v_payload jsonb;
begin
    perform pg_temp.become('service_role');
    v_payload := public.complete_smelt(v_id, (v_claim ->> 'attempt')::bigint, jsonb_set(
        pg_temp.results(v_claim), '{0,content}', to_jsonb(repeat('word ', 41000))
    )) #> '{outbox,0,payload}';
    assert v_payload -> 'results' = '[]' and (v_payload -> 'results_truncated')::boolean, v_payload;
    assert octet_length(public.get_smelt(v_id) #>> '{results,0,content}') = 205000;
end
$$;
