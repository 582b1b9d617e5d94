-- A smelt that is released, or whose lease expires, is claimed at its rank; one that waits for a delay, or is retried,
-- is a new arrival. A release after higher ranks were reached gives no credit to an owner without smelts.
do $$
declare
    v_user constant uuid := pg_temp.given_user();
    v_other constant uuid := pg_temp.given_user();
    v_ids uuid[];
    v_claim jsonb;
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

    -- A release after the queue has moved on is the first in the queue, and gives no credit to an owner without smelts.
    v_claim := pg_temp.claim('slow');
    assert (v_claim ->> 'id')::uuid = v_ids[1];
    update smelt.leases set queue_rank = 1 where smelt_id = v_ids[1];
    perform public.release_smelt(v_ids[1], (v_claim ->> 'attempt')::bigint);
    v_late := pg_temp.given_smelt(v_other);
    assert (pg_temp.smelt(v_ids[1])).queue_rank = 4 and (pg_temp.smelt(v_late)).queue_rank = 4;
    assert (pg_temp.claim() ->> 'id')::uuid = v_ids[1];
end
$$;
