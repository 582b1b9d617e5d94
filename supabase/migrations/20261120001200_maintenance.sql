-- What workers do beside the work: send what is owed, remove what has expired, say that they are there.

-- Take messages that are owed, for as long as they are being sent: those of one smelt at once, or any that nobody has
-- sent for 5 seconds. `for update skip locked` keeps two workers from taking the same.
create function smelt.claim_smelt_outbox(
    p_worker_id text, p_max_count integer, p_smelt_id uuid, p_lease_s integer
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_messages jsonb;
    begin
        with owed as materialized (
            select o.id
            from smelt.outbox as o
            where (o.leased_until is null or o.leased_until <= v_now)
                and (o.smelt_id = p_smelt_id or (p_smelt_id is null and o.created_at <= v_now - interval '5 s'))
            order by o.id
            limit greatest(coalesce(p_max_count, 20), 0)
            for update skip locked
        ), taken as (
            update smelt.outbox as o
            set leased_by = p_worker_id, leased_until = v_now + smelt.lease_length(p_lease_s)
            from owed as w
            where o.id = w.id
            returning o.*
        )
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', t.id, 'event_id', t.event_id, 'topic', t.topic, 'event', t.event, 'payload', t.payload
                )
                order by t.id
            ),
            '[]'
        ) into v_messages
        from taken as t;
        return v_messages;
    end
    $$;

-- Forget messages that were acknowledged; those that are gone already are not counted again.
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

-- Whether all of a smelt has expired, so that its row goes too: an anonymous one some time after its end, and one that
-- nobody ever submitted.
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

-- Skip a smelt that could not be purged for an hour, so that it neither stops nor delays the others.
create function smelt.postpone_purge(p_smelt_id uuid, p_error text) returns void
    language sql volatile
    set search_path = ''
    as $$
        insert into smelt.purge_failures as f (smelt_id, error, retry_at)
        values (p_smelt_id, p_error, clock_timestamp() + interval '1 hour')
        on conflict (smelt_id) do update set error = excluded.error, retry_at = excluded.retry_at
    $$;

-- The smelts that are skipped for now.
create view smelt.postponed_purges as
    select f.smelt_id from smelt.purge_failures as f where f.retry_at > clock_timestamp();
revoke all on smelt.postponed_purges from public, anon, authenticated, service_role;

-- Mark the audio that has been kept long enough after a run that did not go all well, or that belongs to a smelt which
-- has expired as a whole. From the mark on nothing starts to work with it again. Each kind is bounded by an index of
-- its own, and each smelt is marked for itself: a trigger of the app may refuse one.
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
                where s.audio_state = 'stored'
                    and s.completed_at <= v_now - make_interval(secs => v_limits.audio_retention_h * 3600)
                    and s.id not in (select smelt_id from smelt.postponed_purges)
                order by s.completed_at
                limit p_max_count
                for update skip locked
            ), anonymous as (
                select s.id
                from public.smelts as s
                where s.is_anonymous and s.audio_state in ('expected', 'stored')
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
            select id from kept union select id from anonymous union select id from unsubmitted
        loop
            begin
                update public.smelts as s set audio_state = 'removing' where s.id = v_smelt_id;
            exception when others then
                perform smelt.postpone_purge(v_smelt_id, sqlerrm);
            end;
        end loop;
    end
    $$;

-- Make a worker the one that removes; answer whether it is. Nobody else is until it found nothing left, or for so long.
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

-- Let the next worker remove, if it is this one that does.
create function smelt.release_janitor_lease(p_worker_id text) returns void
    language sql volatile
    set search_path = ''
    as $$ update smelt.janitor as j set worker_id = null, leased_until = null where j.worker_id = p_worker_id $$;

-- The smelts to confirm once their objects are gone: those whose audio is to be removed, and those that have expired as
-- a whole. Each kind is bounded by an index of its own.
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

-- The objects without a smelt, or whose audio was removed before, among the next 2,000 of the bucket. The next call
-- goes on behind them, from the start again at the end: what a call takes does not grow with what is kept.
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
            from unnest(v_page) with ordinality as page (name, place)
            where page.name ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/' and not exists (
                select
                from public.smelt_files as f
                join public.smelts as s on s.id = f.smelt_id
                where f.upload_path = page.name and s.audio_state <> 'removed'
            )
            order by page.place
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

-- What has to go as things stand: the objects of the smelts to confirm, and those that no smelt needs.
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

-- List what has to go, to one worker at a time: the others are told that there is nothing. It lists again after every
-- removal, so that what others find out meanwhile is listed to it; with the empty list another one may.
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
            v_expired := smelt.expired_objects(v_max_count);
            if v_expired = v_nothing then
                perform smelt.release_janitor_lease(p_worker_id);
            end if;
        end if;
        return v_expired;
    end
    $$;

-- Delete a smelt that has expired, or note that its audio is removed; returns whether there was anything to do. Raises
-- while an object of it is still there.
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
            raise exception 'the object % is still there', v_path;
        elsif found then
            return false;
        elsif smelt.is_expired(p_smelt) then
            perform smelt.delete_smelt_row(p_smelt);
            return true;
        end if;
        update public.smelts as s set audio_state = 'removed' where s.id = p_smelt.id and s.audio_state = 'removing';
        return found;
    end
    $$;

-- Note what was removed: of the smelts whose audio is really gone, the expired ones are deleted, and the others say so.
-- Each for itself: one that can't go, because a row of the app references it, is skipped for an hour and is one of
-- `failed`. `purged` counts the paths that are gone, and the smelts that are done with.
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

-- Note that a worker is there, and what it says of itself; forget one that leaves.
create function smelt.heartbeat_smelt_worker(p_worker_id text, p_info jsonb, p_leaving boolean) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    begin
        if p_leaving then
            delete from smelt.workers as w where w.worker_id = p_worker_id;
            perform smelt.release_janitor_lease(p_worker_id);
            return '{}';
        end if;
        insert into smelt.workers as w (worker_id, info)
        values (p_worker_id, coalesce(p_info, '{}'))
        on conflict (worker_id) do update set info = excluded.info, seen_at = clock_timestamp();
        return '{}';
    end
    $$;

-- Take broadcasts that are owed: those of one smelt at once, or what nobody has sent for 5 seconds.
create function public.claim_smelt_outbox(
    worker_id text, max_count integer default 20, smelt_id uuid default null, lease_s integer default 15
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.claim_smelt_outbox(
            claim_smelt_outbox.worker_id, claim_smelt_outbox.max_count, claim_smelt_outbox.smelt_id, claim_smelt_outbox.lease_s
        )
    $$;

-- Settle broadcasts that were acknowledged.
create function public.settle_smelt_outbox(ids bigint[]) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.settle_smelt_outbox(settle_smelt_outbox.ids) $$;

-- List the objects to remove through Storage, and the smelts to confirm afterwards, to one worker at a time: whoever
-- gets a list goes on until it is empty, or is waited for as long as its lease.
create function public.list_expired_smelts(
    worker_id text, max_count integer default 100, lease_s integer default 30
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.list_expired_smelts(list_expired_smelts.worker_id, list_expired_smelts.max_count, list_expired_smelts.lease_s) $$;

-- Confirm what was removed through Storage.
create function public.confirm_smelts_purged(paths text[], smelt_ids uuid[]) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.confirm_smelts_purged(confirm_smelts_purged.paths, confirm_smelts_purged.smelt_ids) $$;

-- Say that a worker is there, or that it leaves: its row goes then, so that one that stays unseen tells of a crash.
create function public.heartbeat_smelt_worker(worker_id text, info jsonb, leaving boolean default false) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.heartbeat_smelt_worker(heartbeat_smelt_worker.worker_id, heartbeat_smelt_worker.info, heartbeat_smelt_worker.leaving)
    $$;

revoke all on function
    smelt.claim_smelt_outbox, smelt.settle_smelt_outbox, smelt.is_expired, smelt.postpone_purge, smelt.mark_expired,
    smelt.acquire_janitor_lease, smelt.release_janitor_lease, smelt.smelts_to_purge, smelt.sweep_objects, smelt.expired_objects,
    smelt.list_expired_smelts, smelt.purge, smelt.confirm_smelts_purged, smelt.heartbeat_smelt_worker,
    public.claim_smelt_outbox, public.settle_smelt_outbox, public.list_expired_smelts, public.confirm_smelts_purged, public.heartbeat_smelt_worker
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.claim_smelt_outbox, smelt.settle_smelt_outbox, smelt.list_expired_smelts, smelt.confirm_smelts_purged, smelt.heartbeat_smelt_worker,
    public.claim_smelt_outbox, public.settle_smelt_outbox, public.list_expired_smelts, public.confirm_smelts_purged, public.heartbeat_smelt_worker
    to service_role;
