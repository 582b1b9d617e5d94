-- The queue: the rank of each due smelt, and its place.
--
-- Owners take turns: the n-th smelt of one has the rank of the n-th smelt of another. A rank is computed once, when a
-- smelt becomes due, from the ends of indexes: no call numbers the queue, and none grows with it.

-- Return the rank that was reached: one below the lowest rank in the queue; the highest rank on a lease if the queue is
-- empty. An owner without smelts begins above it, without credit for its idle time.
create function smelt.base_rank() returns bigint
    language sql stable
    set search_path = ''
    as $$
        select coalesce(
            (select min(s.queue_rank) - 1 from public.smelts as s where s.queue_rank is not null),
            (select max(l.queue_rank) from smelt.leases as l),
            0
        )
    $$;

-- Return the highest rank of an owner, in the queue or on a lease; at least the rank that was reached.
create function smelt.highest_rank(p_owner uuid) returns bigint
    language sql stable
    set search_path = ''
    as $$
        select greatest(
            smelt.base_rank(),
            (
                select max(s.queue_rank)
                from public.smelts as s
                where s.queue_owner = p_owner and s.queue_rank is not null
            ),
            (select max(l.queue_rank) from smelt.leases as l where l.queue_owner = p_owner)
        )
    $$;

-- Return the key of the advisory lock of an owner's ranks.
create function smelt.rank_lock_key(p_owner uuid) returns bigint
    language sql immutable
    set search_path = ''
    as $$ select hashtextextended('smelt.rank ' || p_owner, 0) $$;

-- Return the rank of a smelt that becomes due. An advisory lock keeps the ranks of an owner distinct until the commit.
-- Callers hold the lock on the row of the smelt, and take that of its batch afterwards.
create function smelt.next_rank(p_owner uuid) returns bigint
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        perform pg_advisory_xact_lock(smelt.rank_lock_key(p_owner));
        return smelt.highest_rank(p_owner) + 1;
    end
    $$;

-- Return the rank of a smelt that its worker returns to the queue: the rank on its lease or, if higher ranks were
-- reached since, one in front of all others. With a lower one, an owner without smelts would begin below the others.
create function smelt.returned_rank(p_smelt_id uuid) returns bigint
    language sql stable
    set search_path = ''
    as $$
        select greatest(l.queue_rank, smelt.base_rank()) from smelt.leases as l where l.smelt_id = p_smelt_id
    $$;

-- Rank up to 100 smelts whose delay has passed. This never waits: a locked smelt, and those of an owner whose ranks are
-- being locked, are left to the next claim.
create function smelt.rank_due_smelts(p_now timestamptz) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_locked uuid[];
        v_owners uuid[];
    begin
        v_locked := array(
            select s.id
            from public.smelts as s
            where s.queue_rank is null and s.claimable_at <= p_now
                and s.id not in (select x.smelt_id from smelt.suspects as x)
            order by s.claimable_at, s.id
            limit 100
            for update skip locked
        );
        if v_locked = '{}' then
            return;
        end if;
        v_owners := array(
            select o.queue_owner
            from (select distinct s.queue_owner from public.smelts as s where s.id = any (v_locked)) as o
            where pg_try_advisory_xact_lock(smelt.rank_lock_key(o.queue_owner))
        );
        -- A new statement: it sees the ranks that were committed before the locks were taken.
        with owners as materialized (
            select o.queue_owner, smelt.highest_rank(o.queue_owner) as highest_rank
            from unnest(v_owners) as o (queue_owner)
        ), ranked as (
            select
                s.id,
                o.highest_rank + row_number() over (partition by o.queue_owner order by s.claimable_at, s.id) as rank
            from public.smelts as s
            join owners as o using (queue_owner)
            where s.id = any (v_locked)
        )
        update public.smelts as s set queue_rank = r.rank from ranked as r where s.id = r.id;
    end
    $$;

-- Lock the first `p_max_count` smelts in the order of their rank and return their ids; skip locked ones, and those of
-- `p_skipped`. This reads only the beginning of an index.
create function smelt.lock_ranked(p_skipped uuid[], p_max_count integer) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        return array(
            select s.id
            from public.smelts as s
            where s.queue_rank is not null and s.id <> all (p_skipped)
            order by s.queue_rank, s.claimable_at, s.id
            limit p_max_count
            for update skip locked
        );
    end
    $$;

-- Return the positions in the queue, from 1, of these smelts; 1001 stands for any position above 1,000. Smelts that wait
-- for a delay follow those that are due. Smelts that are not in the queue are left out.
create function smelt.queue_positions(p_smelt_ids uuid[]) returns table (smelt_id uuid, queue_position bigint)
    language sql stable
    set search_path = ''
    as $$
        with requested as materialized (
            select s.id from public.smelts as s where s.id = any (p_smelt_ids) and s.claimable_at is not null
        ), ranked as materialized (
            select s.id, row_number() over (order by s.queue_rank, s.claimable_at, s.id) as position
            from public.smelts as s
            -- Read the queue only if a requested smelt is in it.
            where s.queue_rank is not null and exists (select from requested)
            limit 1000
        ), unranked as materialized (
            select s.id, row_number() over (order by s.claimable_at, s.id) as position
            from public.smelts as s
            where s.queue_rank is null and s.claimable_at is not null
                and exists (
                    select from public.smelts as u
                    where u.id = any (p_smelt_ids) and u.queue_rank is null and u.claimable_at is not null
                )
            limit 1000
        )
        select
            r.id,
            least(coalesce(q.position, u.position + (select count(*) from ranked), 1001), 1001)
        from requested as r
        left join ranked as q using (id)
        left join unranked as u using (id)
    $$;

revoke all on function
    smelt.base_rank, smelt.highest_rank, smelt.rank_lock_key, smelt.next_rank, smelt.returned_rank,
    smelt.rank_due_smelts, smelt.lock_ranked, smelt.queue_positions
    from public, anon, authenticated, service_role;
