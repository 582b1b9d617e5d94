-- A batch has a `seq` of its own, and a newer progress replaces an unsent older one.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_batch uuid;
    v_claim jsonb;
    v_payload jsonb;
    v_seq bigint := 0;
begin
    perform pg_temp.become('authenticated', v_user);
    v_batch := public.create_smelt_batch('monday') ->> 'id';
    for i in 1..2 loop
        perform pg_temp.given_smelt(v_user, 1, v_batch);
    end loop;
    for i in 1..2 loop
        v_claim := pg_temp.claim();
        perform pg_temp.become('service_role');
        if i = 1 then
            perform public.complete_smelt(
                (v_claim ->> 'id')::uuid, (v_claim ->> 'attempt')::bigint, pg_temp.results(v_claim)
            );
        else
            perform public.fail_smelt((v_claim ->> 'id')::uuid, (v_claim ->> 'attempt')::bigint, 'internal_error');
        end if;
        perform pg_temp.become('postgres');
        select o.payload into strict v_payload from smelt.outbox as o where o.topic = 'smelt-batch:' || v_batch;
        assert (v_payload ->> 'seq')::bigint > v_seq, v_payload;
        v_seq := v_payload ->> 'seq';
        assert v_payload @> jsonb_build_object(
            'batch_id', v_batch, 'total', 2, 'completed', 1, 'failed', i - 1, 'progress', i * 50.0,
            'status', case i when 1 then 'processing' else 'completed' end, 'eta_seconds', null
        ), v_payload;
    end loop;
    perform pg_temp.become('authenticated', v_user);
    assert (select (completed, failed, total, seq) = (1, 1, 2, v_seq) from public.smelt_batches);
    perform public.retry_smelt((v_claim ->> 'id')::uuid);
    assert (select (completed, failed, status) = (1, 0, 'processing') from public.smelt_batches);
end
$$;
