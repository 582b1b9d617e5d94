-- Maintenance by workers: sending the outbox, purging, heartbeats.

-- Lease unsent events to a worker: those of one smelt at once, or, without a smelt, any that are older than 5 seconds.
-- `for update skip locked` keeps two workers from claiming the same event.
create function smelt.claim_smelt_outbox(
    p_worker_id text, p_max_count integer, p_smelt_id uuid, p_lease_s integer
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_ids bigint[];
    begin
        with unsent as materialized (
            select o.id
            from smelt.outbox as o
            where (o.leased_until is null or o.leased_until <= v_now)
                and (o.smelt_id = p_smelt_id or (p_smelt_id is null and o.created_at <= v_now - interval '5 s'))
            order by o.id
            limit greatest(coalesce(p_max_count, 20), 0)
            for update skip locked
        )
        select array_agg(u.id) into v_ids from unsent as u;
        return smelt.lease_outbox(v_ids, p_worker_id, smelt.lease_length(p_lease_s));
    end
    $$;

-- Delete acknowledged events; return how many were still there.
create function smelt.settle_smelt_outbox(p_ids bigint[]) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_settled_count bigint;
    begin
        with sent as materialized (
            select o.id from smelt.outbox as o where o.id = any (p_ids) order by o.id for update
        )
        delete from smelt.outbox as o using sent where o.id = sent.id;
        get diagnostics v_settled_count = row_count;
        return jsonb_build_object('settled', v_settled_count);
    end
    $$;

-- Return true if the whole smelt is to be deleted: an anonymous one after its retention, or one that was never
-- submitted.
create function smelt.is_expired(p_smelt public.smelts) returns boolean
    language sql stable
    set search_path = ''
    as $$
        select case
            when p_smelt.submitted_at is null then
                p_smelt.created_at <= clock_timestamp() - make_interval(secs => l.unsubmitted_retention_h * 3600)
            else
                p_smelt.is_anonymous
                and p_smelt.completed_at <= clock_timestamp() - make_interval(secs => l.anonymous_retention_h * 3600)
        end
        from smelt.limits as l
    $$;

-- For an hour, skip a smelt that could not be purged, so that it does not hold up the others.
create function smelt.postpone_purge(p_smelt_id uuid, p_error text) returns void
    language sql volatile
    set search_path = ''
    as $$
        insert into smelt.purge_failures as f (smelt_id, error, retry_at)
        values (p_smelt_id, p_error, clock_timestamp() + interval '1 hour')
        on conflict (smelt_id) do update set error = excluded.error, retry_at = excluded.retry_at
    $$;

-- The smelts that are skipped at present.
create view smelt.postponed_purges as
    select f.smelt_id from smelt.purge_failures as f where f.retry_at > clock_timestamp();
revoke all on smelt.postponed_purges from public, anon, authenticated, service_role;

-- Set `audio_state` to `removing` for audio whose retention is over: of failed and partial smelts, of those that asked
-- to keep it for some time, of anonymous ones, and of those that were never submitted. From then on no retry or
-- submission uses it. Each kind is read by an index of its own, and each smelt is updated in isolation: a trigger of
-- the app may reject one.
create function smelt.mark_expired(p_max_count integer) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_limits smelt.limits;
        v_now constant timestamptz := clock_timestamp();
        v_smelt_id uuid;
    begin
        select l.* into v_limits from smelt.limits as l;
        for v_smelt_id in
            with kept as (
                select s.id
                from public.smelts as s
                where s.audio_state = 'stored' and s.audio_kept_until is null
                    and s.completed_at <= v_now - make_interval(secs => v_limits.audio_retention_h * 3600)
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.completed_at
                limit p_max_count
                for update skip locked
            ), requested as (
                select s.id
                from public.smelts as s
                where s.audio_state = 'stored' and s.audio_kept_until is not null and s.audio_kept_until <= v_now
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.audio_kept_until
                limit p_max_count
                for update skip locked
            ), anonymous as (
                select s.id
                from public.smelts as s
                where s.is_anonymous and s.audio_state = 'stored'
                    and s.completed_at <= v_now - make_interval(secs => v_limits.anonymous_retention_h * 3600)
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.completed_at
                limit p_max_count
                for update skip locked
            ), unsubmitted as (
                select s.id
                from public.smelts as s
                where s.submitted_at is null and s.audio_state = 'expected'
                    and s.created_at <= v_now - make_interval(secs => v_limits.unsubmitted_retention_h * 3600)
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.created_at
                limit p_max_count
                for update skip locked
            )
            select id from kept
            union select id from requested
            union select id from anonymous
            union select id from unsubmitted
        loop
            begin
                update public.smelts as s set audio_state = 'removing' where s.id = v_smelt_id;
            exception when others then
                perform smelt.postpone_purge(v_smelt_id, sqlerrm);
            end;
        end loop;
    end
    $$;

-- Give the janitor lease to a worker if it is free or its own; return true if it has it. The worker keeps the lease
-- until its list is empty, or until the lease expires.
create function smelt.acquire_janitor_lease(p_worker_id text, p_lease_s integer) returns boolean
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        update smelt.janitor as j
        set worker_id = p_worker_id, leased_until = clock_timestamp() + smelt.lease_length(p_lease_s)
        where j.worker_id is null or j.worker_id = p_worker_id or j.leased_until <= clock_timestamp();
        return found;
    end
    $$;

-- Release the janitor lease, if this worker has it.
create function smelt.release_janitor_lease(p_worker_id text) returns void
    language sql volatile
    set search_path = ''
    as $$ update smelt.janitor as j set worker_id = null, leased_until = null where j.worker_id = p_worker_id $$;

-- Return the smelts to confirm once their objects are removed: those whose audio is `removing`, and those that are to
-- be deleted as a whole. Each kind is read by an index of its own.
create function smelt.smelts_to_purge(p_max_count integer) returns uuid[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_limits smelt.limits;
        v_now constant timestamptz := clock_timestamp();
    begin
        select l.* into v_limits from smelt.limits as l;
        return array(
            (
                select s.id
                from public.smelts as s
                where s.audio_state = 'removing' and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.id
                limit p_max_count
            )
            union
            (
                select s.id
                from public.smelts as s
                where s.is_anonymous and s.submitted_at is not null
                    and s.completed_at <= v_now - make_interval(secs => v_limits.anonymous_retention_h * 3600)
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.completed_at
                limit p_max_count
            )
            union
            (
                select s.id
                from public.smelts as s
                where s.submitted_at is null
                    and s.created_at <= v_now - make_interval(secs => v_limits.unsubmitted_retention_h * 3600)
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.created_at
                limit p_max_count
            )
            limit p_max_count
        );
    end
    $$;

-- Return the strays among the next 2,000 objects of the bucket: objects without a smelt, or of a smelt whose audio is
-- `removed`. The next call continues after them, and starts again at the end, so that the cost of a call does not
-- depend on the size of the bucket.
create function smelt.sweep_objects(p_max_count integer) returns text[]
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_page_size constant integer := 2000;
        v_page text[];
        v_strays text[];
    begin
        v_page := array(
            select o.name
            from storage.objects as o
            where o.bucket_id = 'smelt-audio' and o.name > (select coalesce(j.swept_to, '') from smelt.janitor as j)
            order by o.name
            limit v_page_size
        );
        v_strays := array(
            select page.name
            from unnest(v_page) with ordinality as page (name, ordinal)
            where page.name ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/' and not exists (
                select
                from public.smelt_files as f
                join public.smelts as s on s.id = f.smelt_id
                where f.upload_path = page.name and s.audio_state <> 'removed'
            )
            order by page.ordinal
            limit p_max_count
        );
        update smelt.janitor as j
        set swept_to = case
            when cardinality(v_strays) = p_max_count then v_strays[p_max_count]
            else v_page[v_page_size]
        end;
        return v_strays;
    end
    $$;

-- Return the objects to remove, which are those of the smelts to confirm and the strays, and the smelts to confirm.
create function smelt.expired_objects(p_max_count integer) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_smelts constant uuid[] := smelt.smelts_to_purge(p_max_count);
        v_objects constant text[] := smelt.sweep_objects(p_max_count) || array(
            select o.name
            from public.smelts as s
            join public.smelt_files as f on f.smelt_id = s.id
            join storage.objects as o on o.bucket_id = 'smelt-audio' and o.name = f.upload_path
            where s.id = any (v_smelts) and s.audio_state = 'removing'
        );
    begin
        return jsonb_build_object(
            'objects', (
                select coalesce(jsonb_agg(jsonb_build_object(
                    'path', o.name, 'smelt_id', split_part(o.name, '/', 1)::uuid
                )), '[]')
                from unnest(v_objects) as o (name)
            ),
            'smelts', to_jsonb(v_smelts)
        );
    end
    $$;

-- List what is to be purged to the worker with the janitor lease; the others get an empty list. The worker calls again
-- after each removal; the empty list releases its lease.
create function smelt.list_expired_smelts(p_worker_id text, p_max_count integer, p_lease_s integer) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_max_count constant integer := greatest(coalesce(p_max_count, 100), 0);
        v_nothing constant jsonb := '{"objects": [], "smelts": []}';
        v_expired jsonb := v_nothing;
    begin
        if smelt.acquire_janitor_lease(p_worker_id, p_lease_s) then
            perform smelt.mark_expired(v_max_count);
            delete from smelt.workers as w where w.seen_at < clock_timestamp() - interval '7 days';
            perform smelt.purge_webhook_deliveries();
            v_expired := smelt.expired_objects(v_max_count);
            if v_expired = v_nothing then
                perform smelt.release_janitor_lease(p_worker_id);
            end if;
        end if;
        return v_expired;
    end
    $$;

-- Delete an expired smelt, or set the `audio_state` of another one to `removed`; return false if there was nothing to
-- do. Raise an error if an object that is to be removed still exists.
create function smelt.purge(p_smelt public.smelts) returns boolean
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_path text;
    begin
        select o.name into v_path
        from public.smelt_files as f
        join storage.objects as o on o.bucket_id = 'smelt-audio' and o.name = f.upload_path
        where f.smelt_id = p_smelt.id;
        if found and p_smelt.audio_state = 'removing' then
            raise exception 'the object % still exists', v_path;
        elsif found then
            return false;
        elsif smelt.is_expired(p_smelt) then
            perform smelt.delete_smelt_row(p_smelt);
            return true;
        end if;
        update smelt.requests as r
        set client_hash = null
        where r.smelt_id = p_smelt.id and r.client_hash is not null and p_smelt.completed_at is not null;
        update public.smelts as s set audio_state = 'removed' where s.id = p_smelt.id and s.audio_state = 'removing';
        return found;
    end
    $$;

-- Purge the listed smelts whose objects are removed, each in isolation: one that cannot be purged, for example because
-- a row of the app references it, is skipped for an hour and listed in `failed`. `purged` counts the removed paths and
-- the purged smelts.
create function smelt.confirm_smelts_purged(p_paths text[], p_smelt_ids uuid[]) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts;
        v_count bigint;
        v_failed jsonb := '[]';
    begin
        select count(*) into v_count
        from unnest(p_paths) as path
        where not exists (
            select from storage.objects as o where o.bucket_id = 'smelt-audio' and o.name = path
        );
        for v_smelt in
            select s.*
            from public.smelts as s
            where s.id = any (p_smelt_ids)
            order by s.batch_id, s.id
            for update of s skip locked
        loop
            begin
                if smelt.purge(v_smelt) then
                    delete from smelt.purge_failures as f where f.smelt_id = v_smelt.id;
                    v_count := v_count + 1;
                end if;
            exception when others then
                perform smelt.postpone_purge(v_smelt.id, sqlerrm);
                v_failed := v_failed || jsonb_build_object('smelt_id', v_smelt.id, 'error', sqlerrm);
            end;
        end loop;
        return jsonb_build_object('purged', v_count, 'failed', v_failed);
    end
    $$;

-- Insert or update the row of a worker and return the version of the schema; delete the row of one that leaves.
create function smelt.heartbeat_smelt_worker(
    p_worker_id text, p_info jsonb, p_leaving boolean, p_host text
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    begin
        if p_leaving then
            delete from smelt.workers as w where w.worker_id = p_worker_id;
            perform smelt.release_janitor_lease(p_worker_id);
            return '{}';
        end if;
        insert into smelt.workers as w (worker_id, host, info)
        values (p_worker_id, coalesce(p_host, p_worker_id), coalesce(p_info, '{}'))
        on conflict (worker_id) do update
        set info = excluded.info, host = excluded.host, seen_at = clock_timestamp();
        return (
            select jsonb_build_object('schema_version', v.version, 'schema_compatible_from', v.compatible_from)
            from smelt.schema_version as v
        );
    end
    $$;

-- Claim unsent events: those of one smelt at once, or, without a smelt, any that are older than 5 seconds.
create function public.claim_smelt_outbox(
    worker_id text, max_count integer default 20, smelt_id uuid default null, lease_s integer default 15
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.claim_smelt_outbox(
            claim_smelt_outbox.worker_id, claim_smelt_outbox.max_count, claim_smelt_outbox.smelt_id,
            claim_smelt_outbox.lease_s
        )
    $$;

-- Settle events that were acknowledged.
create function public.settle_smelt_outbox(ids bigint[]) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.settle_smelt_outbox(settle_smelt_outbox.ids) $$;

-- List the objects to remove through Storage, and the smelts to confirm afterwards. One worker at a time gets a list,
-- and calls again until it is empty; the others wait until then, or until the lease of that worker expires.
create function public.list_expired_smelts(
    worker_id text, max_count integer default 100, lease_s integer default 30
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.list_expired_smelts(
            list_expired_smelts.worker_id, list_expired_smelts.max_count, list_expired_smelts.lease_s
        )
    $$;

-- Confirm objects that were removed through Storage; return the count, and the smelts that could not be purged.
create function public.confirm_smelts_purged(paths text[], smelt_ids uuid[]) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.confirm_smelts_purged(confirm_smelts_purged.paths, confirm_smelts_purged.smelt_ids) $$;

-- Record a heartbeat of a worker, or delete its row when it leaves. A row without heartbeats means that its worker
-- crashed. `info` is for people, except its `models`: the names of the models that the worker has. The response has the
-- version of the schema: a worker that does not fit it any longer stops.
create function public.heartbeat_smelt_worker(
    worker_id text, info jsonb, leaving boolean default false, host text default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.heartbeat_smelt_worker(
            heartbeat_smelt_worker.worker_id, heartbeat_smelt_worker.info, heartbeat_smelt_worker.leaving,
            heartbeat_smelt_worker.host
        )
    $$;

revoke all on function
    smelt.claim_smelt_outbox, smelt.settle_smelt_outbox, smelt.is_expired, smelt.postpone_purge, smelt.mark_expired,
    smelt.acquire_janitor_lease, smelt.release_janitor_lease, smelt.smelts_to_purge, smelt.sweep_objects,
    smelt.expired_objects, smelt.list_expired_smelts, smelt.purge, smelt.confirm_smelts_purged,
    smelt.heartbeat_smelt_worker, public.claim_smelt_outbox, public.settle_smelt_outbox, public.list_expired_smelts,
    public.confirm_smelts_purged, public.heartbeat_smelt_worker
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.claim_smelt_outbox, smelt.settle_smelt_outbox, smelt.list_expired_smelts, smelt.confirm_smelts_purged,
    smelt.heartbeat_smelt_worker, public.claim_smelt_outbox, public.settle_smelt_outbox, public.list_expired_smelts,
    public.confirm_smelts_purged, public.heartbeat_smelt_worker
    to service_role;
