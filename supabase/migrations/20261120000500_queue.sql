-- The queue: the rank of each due smelt, and its place.
--
-- Owners take turns: the n-th smelt of one has the rank of the n-th smelt of another. A rank is computed once, when a
-- smelt becomes due, from the ends of indexes: no call numbers the queue, and none grows with it.
--
-- A smelt may name its model (`queue_model`); '' stands for none, which every worker can process. The rank that was
-- reached is that among the models of one worker: a smelt that no live worker can process does not hold back the smelts
-- of other owners.
--
-- Queries for one model compare and sort by `queue_model` first, also where it is constant. Otherwise the planner could
-- choose an index of all models, and read the whole queue to find none of this one.

-- Return the models that a worker can process, from those that it names; '' is one of them.
create function smelt.with_any_model(p_models text[]) returns text[]
    language sql immutable
    set search_path = ''
    as $$
        select array(
            select distinct m.model from unnest(array_append(p_models, '')) as m (model)
            where m.model is not null
            order by m.model
        )
    $$;

-- Return the models that a worker can process, from the `info` of its heartbeat.
create function smelt.models_of_info(p_info jsonb) returns text[]
    language sql immutable
    set search_path = ''
    as $$
        select smelt.with_any_model(array(
            select jsonb_array_elements_text(
                case jsonb_typeof(p_info -> 'models') when 'array' then p_info -> 'models' else '[]' end
            )
        ))
    $$;

-- Return the models of each live worker; the same ones once.
create function smelt.live_model_lists() returns table (models text[])
    language sql stable
    rows 2
    set search_path = ''
    as $$
        select distinct smelt.models_of_info(w.info) from smelt.live_workers as w
    $$;

-- Return the models that live workers can process, with ''; none without a live worker.
create function smelt.live_models() returns text[]
    language sql stable
    set search_path = ''
    as $$
        select array(select distinct unnest(l.models) from smelt.live_model_lists() as l)
    $$;

-- Return the models of each live worker that can process this one; without such a worker, those that one would have.
create function smelt.model_lists_with(p_model text) returns table (models text[])
    language sql stable
    rows 2
    set search_path = ''
    as $$
        with live as materialized (
            select l.models from smelt.live_model_lists() as l where p_model = any (l.models)
        )
        select l.models from live as l
        union all
        select smelt.with_any_model(array[p_model]) where not exists (select from live)
    $$;

-- Return the rank that was reached by the workers that can process a model: one below the lowest rank among the smelts
-- that such a worker can process, of several workers the highest. Smelts that a worker returned keep a lower rank and
-- do not count: an owner without smelts would begin below the others. If there are no other smelts, return the highest
-- rank on a lease of these models, or one below the lowest rank of a returned smelt, whichever is higher. An owner
-- without smelts begins above the rank that was reached, without credit for its idle time.
create function smelt.base_rank(p_model text) returns bigint
    language sql stable
    set search_path = ''
    as $$
        with lists as materialized (
            select l.models from smelt.model_lists_with(p_model) as l
        ), models as materialized (
            select distinct unnest(l.models) as model from lists as l
        ), fronts as materialized (
            select m.model, front.queue_rank
            from models as m
            cross join lateral (
                select s.queue_model, s.queue_rank
                from public.smelts as s
                where s.queue_rank is not null and s.started_at is null and s.queue_model >= m.model
                order by s.queue_model, s.queue_rank
                limit 1
            ) as front
            where front.queue_model = m.model
        )
        select coalesce(
            (
                select max(lowest.queue_rank) - 1
                from lists as l
                cross join lateral (
                    select min(f.queue_rank) as queue_rank from fronts as f where f.model = any (l.models)
                ) as lowest
            ),
            greatest(
                (
                    select max(l.queue_rank)
                    from smelt.leases as l
                    where l.queue_model in (select m.model from models as m)
                ),
                (
                    select min(returned.queue_rank) - 1
                    from models as m
                    cross join lateral (
                        select s.queue_model, s.queue_rank
                        from public.smelts as s
                        where s.queue_rank is not null and s.queue_model >= m.model
                        order by s.queue_model, s.queue_rank
                        limit 1
                    ) as returned
                    where returned.queue_model = m.model
                )
            ),
            0
        )
    $$;

-- Return the highest rank of an owner, in the queue or on a lease; null without one. It is that of all models: smelts
-- of one owner are claimed in the order in which they became due, whichever models the workers have meanwhile.
create function smelt.highest_rank(p_owner uuid) returns bigint
    language sql stable
    set search_path = ''
    as $$
        select greatest(
            (
                select own.queue_rank
                from (
                    select s.queue_owner, s.queue_rank
                    from public.smelts as s
                    where s.queue_rank is not null and s.queue_owner <= p_owner
                    order by s.queue_owner desc, s.queue_rank desc
                    limit 1
                ) as own
                where own.queue_owner = p_owner
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
create function smelt.next_rank(p_owner uuid, p_model text) returns bigint
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        perform pg_advisory_xact_lock(smelt.rank_lock_key(p_owner));
        return greatest(smelt.highest_rank(p_owner), smelt.base_rank(p_model)) + 1;
    end
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
            select
                m.queue_owner,
                greatest(smelt.highest_rank(m.queue_owner), max(smelt.base_rank(m.queue_model))) as highest_rank
            from (select distinct s.queue_owner, s.queue_model from public.smelts as s where s.id = any (v_locked)) as m
            where m.queue_owner = any (v_owners)
            group by m.queue_owner
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

-- Lock the first `p_max_count` smelts of these models in the order of their rank and return their ids; skip locked
-- ones, and those of `p_skipped`. This reads only the beginnings of an index, one for each model.
create function smelt.lock_ranked(p_models text[], p_skipped uuid[], p_max_count integer) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_locked uuid[] := '{}';
        v_missing integer := p_max_count;
        v_rank bigint := -9223372036854775808;
        v_at timestamptz := '-infinity';
        v_id uuid := '00000000-0000-0000-0000-000000000000';
        v_batch record;
    begin
        while v_missing > 0 loop
            with first as materialized (
                select n.*
                from unnest(p_models) as m (model)
                cross join lateral (
                    select s.id, s.queue_model, s.queue_rank, s.claimable_at
                    from public.smelts as s
                    where s.queue_rank is not null and s.id <> all (p_skipped)
                        and (s.queue_model, s.queue_rank, s.claimable_at, s.id) > (m.model, v_rank, v_at, v_id)
                    order by s.queue_model, s.queue_rank, s.claimable_at, s.id
                    limit v_missing
                ) as n
                where n.queue_model = m.model
                order by n.queue_rank, n.claimable_at, n.id
                limit v_missing
            ), locked as materialized (
                select s.id
                from first as f
                -- The whole key, so that also without statistics each is found by its key.
                join public.smelts as s using (queue_model, queue_rank, claimable_at, id)
                for update of s skip locked
            ), last as (
                select f.* from first as f order by f.queue_rank desc, f.claimable_at desc, f.id desc limit 1
            )
            select
                (select count(*) from first) as count, array(select l.id from locked as l) as locked_ids,
                (select l.queue_rank from last as l) as queue_rank,
                (select l.claimable_at from last as l) as claimable_at,
                (select l.id from last as l) as id
            into v_batch;
            v_locked := v_locked || v_batch.locked_ids;
            exit when v_batch.count < v_missing;
            -- Some were locked by others: continue after them.
            v_missing := p_max_count - cardinality(v_locked);
            v_rank := v_batch.queue_rank;
            v_at := v_batch.claimable_at;
            v_id := v_batch.id;
        end loop;
        return v_locked;
    end
    $$;

-- Return the positions in the queue, from 1, of these smelts, among those of all models; 1001 stands for any position
-- above 1,000. Smelts that wait for a delay follow those that are due. Smelts that are not in the queue are left out.
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
    smelt.with_any_model, smelt.models_of_info, smelt.live_model_lists, smelt.live_models, smelt.model_lists_with,
    smelt.base_rank, smelt.highest_rank, smelt.rank_lock_key, smelt.next_rank, smelt.rank_due_smelts, smelt.lock_ranked,
    smelt.queue_positions
    from public, anon, authenticated, service_role;
