-- A smelt that is released, or whose lease expires, is claimed at its rank; one that waits for a delay, or is retried,
-- is a new arrival. A release after higher ranks were reached gives no credit to an owner without smelts.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
    v_ids uuid[];
    v_claim jsonb;
    v_claims jsonb;
    v_late uuid;
begin
    v_ids := array[pg_temp.given_smelt(v_user), pg_temp.given_smelt(v_user), pg_temp.given_smelt(v_user)];
    assert (select array_agg(s.queue_rank order by s.queue_rank) from public.smelts as s) = '{1,2,3}';

    v_claim := pg_temp.claim();
    assert (pg_temp.smelt(v_ids[1])).queue_rank is null;
    perform public.release_smelt(v_ids[1], (v_claim ->> 'attempt')::bigint);
    assert (pg_temp.smelt(v_ids[1])).queue_rank = 1, 'a release';
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'id')::uuid = v_ids[1];
    perform pg_temp.expire_leases();
    v_claim := pg_temp.claim();
    assert (v_claim ->> 'id')::uuid = v_ids[1], 'an expired lease';
    assert (select l.queue_rank from smelt.leases as l where l.smelt_id = v_ids[1]) = 1;

    -- A delayed retry has no rank until the delay has passed.
    perform public.fail_smelt(v_ids[1], (v_claim ->> 'attempt')::bigint, 'connection_lost', transient => true);
    assert (pg_temp.smelt(v_ids[1])).queue_rank is null;
    perform pg_temp.become('authenticated', v_user);
    assert public.get_smelt(v_ids[1]) ->> 'queue_position' = '3', 'behind those that are due';
    perform pg_temp.become('postgres');
    update public.smelts set claimable_at = clock_timestamp() where id = v_ids[1];
    assert (pg_temp.claim() ->> 'id')::uuid = v_ids[2];
    assert (pg_temp.smelt(v_ids[1])).queue_rank = 4;

    -- A cancelled rank is a gap.
    perform pg_temp.become('authenticated', v_user);
    perform public.cancel_smelt(v_ids[3]);
    perform public.retry_smelt(v_ids[3]);
    perform pg_temp.become('postgres');
    assert (pg_temp.smelt(v_ids[3])).queue_rank = 5, 'a retry';

    -- Smelts that are released after the queue has moved on are claimed in their order, and give no credit to an owner
    -- without smelts.
    perform pg_temp.become('service_role');
    v_claims := public.claim_smelts('slow', max_count => 2) -> 'smelts';
    assert jsonb_path_query_array(v_claims, '$[*].id') = jsonb_build_array(v_ids[1], v_ids[3]), v_claims;
    perform pg_temp.become('postgres');
    update smelt.leases set queue_rank = queue_rank - 3;
    for n in 1..3 loop
        perform pg_temp.given_smelt(v_user);
    end loop;
    assert (
        select array_agg(s.queue_rank order by s.queue_rank) from public.smelts as s where s.queue_rank is not null
    ) = '{3,4,5}';
    update public.smelts set queue_rank = queue_rank + 10 where queue_rank is not null;
    perform public.release_smelt((c ->> 'id')::uuid, (c ->> 'attempt')::bigint)
    from jsonb_array_elements(v_claims) as c;
    assert (pg_temp.smelt(v_ids[1])).queue_rank = 1 and (pg_temp.smelt(v_ids[3])).queue_rank = 2;
    v_late := pg_temp.given_smelt(v_other);
    assert (pg_temp.smelt(v_late)).queue_rank = 13, pg_temp.smelt(v_late);
    assert (pg_temp.claim() ->> 'id')::uuid = v_ids[1];
    assert (pg_temp.claim() ->> 'id')::uuid = v_ids[3];
end
$$;
