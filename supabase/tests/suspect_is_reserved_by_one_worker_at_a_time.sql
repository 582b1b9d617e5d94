-- A worker that finds a suspect due while it has other smelts claims nothing until they have ended, and then the
-- suspect alone. One worker at a time does so; the others claim other smelts, and one without smelts takes the suspect
-- at once.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_claim jsonb;
    v_busy jsonb[];
    v_suspects uuid[];
    v_response jsonb;
begin
    for i in 1..4 loop
        perform pg_temp.given_smelt(v_user);
        v_busy := v_busy || pg_temp.claim('busy ' || i % 2);
    end loop;
    for i in 1..2 loop
        v_suspects := v_suspects || pg_temp.given_smelt(v_user);
        v_claim := pg_temp.claim('stopped ' || i);
        assert v_claim ->> 'id' = v_suspects[i]::text;
    end loop;
    for i in 1..3 loop
        perform pg_temp.given_smelt(v_user);
    end loop;
    perform pg_temp.stop(jsonb_build_object('id', id, 'attempt', 1)) from unnest(v_suspects) as id;

    perform pg_temp.become('service_role');
    v_response := public.claim_smelts('busy 0', max_count => 2);
    assert v_response @> '{"smelts": [], "next_due_at": null, "waits_for_end": true}', v_response;
    v_response := public.claim_smelts('busy 1', max_count => 2);
    assert jsonb_array_length(v_response -> 'smelts') = 2, v_response;
    assert (select bool_and(c -> 'suspect' = 'null') from jsonb_array_elements(v_response -> 'smelts') as c);
    assert public.claim_smelts('busy 0') -> 'smelts' = '[]', 'also with the next claim';

    -- A worker without smelts takes the reserved suspect, another one the second suspect.
    v_response := public.claim_smelts('idle 1', max_count => 2) -> 'smelts';
    assert jsonb_array_length(v_response) = 1 and (v_response -> 0 ->> 'id')::uuid = any (v_suspects), v_response;
    v_claim := v_response -> 0;
    assert public.claim_smelts('busy 0') -> 'smelts' = '[]', 'the second suspect';
    perform pg_temp.become('postgres');
    assert (select x.reserved_by from smelt.suspects as x where x.smelt_id <> (v_claim ->> 'id')::uuid) = 'busy 0';

    perform pg_temp.become('service_role');
    perform public.release_smelt((v_busy[2] ->> 'id')::uuid, (v_busy[2] ->> 'attempt')::bigint);
    assert public.claim_smelts('busy 0') -> 'smelts' = '[]', 'one of its smelts is left';
    perform public.release_smelt((v_busy[4] ->> 'id')::uuid, (v_busy[4] ->> 'attempt')::bigint);
    v_response := public.claim_smelts('busy 0', max_count => 2) -> 'smelts';
    assert jsonb_array_length(v_response) = 1, v_response;
    assert (v_response -> 0 ->> 'id')::uuid = any (v_suspects) and v_response -> 0 -> 'id' <> v_claim -> 'id';
    perform pg_temp.become('postgres');
    assert not exists (select from smelt.suspects as x where x.reserved_by is not null);
end
$$;
