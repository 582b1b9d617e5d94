-- What workers do beside the work: send what is owed, remove what has expired, say that they are there.

-- Take messages that are owed, for as long as they are being sent: those of one smelt at once, or any that nobody has
-- sent for 5 seconds. `for update skip locked` keeps two workers from taking the same.
create function smelt.claim_outbox(
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
create function smelt.settle_outbox(p_ids bigint[]) returns jsonb
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

-- Mark the audio that has been kept long enough after a run that did not go all well, or that belongs to a smelt which
-- has expired as a whole. From the mark on nothing starts to work with it again.
create function smelt.mark_expired(p_max_count integer) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_limits smelt.limits;
        v_now constant timestamptz := clock_timestamp();
    begin
        select l.* into v_limits from smelt.limits as l;
        with due as materialized (
            select s.id
            from public.smelts as s
            where (
                s.audio_state = 'stored'
                and s.completed_at <= v_now - make_interval(secs => v_limits.audio_retention_h * 3600)
            ) or (
                s.is_anonymous and s.audio_state in ('expected', 'stored')
                and s.completed_at <= v_now - make_interval(secs => v_limits.anonymous_retention_h * 3600)
            ) or (
                s.submitted_at is null and s.audio_state = 'expected'
                and s.created_at <= v_now - make_interval(secs => v_limits.unsubmitted_retention_h * 3600)
            )
            limit p_max_count
            for update skip locked
        )
        update public.smelts as s set audio_state = 'removing' from due where s.id = due.id;
    end
    $$;

-- Make a worker the one that removes; answer whether it is. Nobody else is until it found nothing left, or for so long.
create function smelt.take_janitor(p_worker_id text, p_lease_s integer) returns boolean
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
create function smelt.leave_janitor(p_worker_id text) returns void
    language sql volatile
    set search_path = ''
    as $$ update smelt.janitor as j set worker_id = null, leased_until = null where j.worker_id = p_worker_id $$;

-- What has to go as things stand: objects that no smelt wants any more, and smelts to confirm once theirs are gone.
create function smelt.expired(p_max_count integer) returns jsonb
    language sql volatile
    set search_path = ''
    as $$
        select jsonb_build_object(
            'objects', (
                select coalesce(jsonb_agg(jsonb_build_object('path', o.name, 'smelt_id', o.smelt_id)), '[]')
                from (
                    select o.name, split_part(o.name, '/', 1)::uuid as smelt_id
                    from storage.objects as o
                    left join public.smelt_files as f on f.upload_path = o.name
                    left join public.smelts as s on s.id = f.smelt_id
                    where o.bucket_id = 'smelt-audio'
                        and o.name ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/'
                        and coalesce(s.audio_state, 'removing') in ('removing', 'removed')
                    limit p_max_count
                ) as o
            ),
            'smelts', (
                select coalesce(jsonb_agg(s.id), '[]')
                from (
                    select s.id
                    from public.smelts as s
                    where s.audio_state = 'removing'
                        or (s.is_anonymous and s.completed_at is not null and smelt.is_expired(s))
                    limit p_max_count
                ) as s
            )
        )
    $$;

-- List what has to go, to one worker at a time: the others are told that there is nothing. It lists again after every
-- removal, so that what others find out meanwhile is listed to it; with the empty list another one may.
create function smelt.list_expired(p_worker_id text, p_max_count integer, p_lease_s integer) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_max_count constant integer := greatest(coalesce(p_max_count, 100), 0);
        v_nothing constant jsonb := '{"objects": [], "smelts": []}';
        v_expired jsonb := v_nothing;
    begin
        if smelt.take_janitor(p_worker_id, p_lease_s) then
            perform smelt.mark_expired(v_max_count);
            delete from smelt.workers as w where w.seen_at < clock_timestamp() - interval '7 days';
            v_expired := smelt.expired(v_max_count);
            if v_expired = v_nothing then
                perform smelt.leave_janitor(p_worker_id);
            end if;
        end if;
        return v_expired;
    end
    $$;

-- Note what was removed: of the smelts whose audio is really gone, the expired ones are deleted, and the others say so.
-- `purged` counts the paths that are gone, and the smelts that are done with.
create function smelt.confirm_purged(p_paths text[], p_smelt_ids uuid[]) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_smelt public.smelts;
        v_count bigint;
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
                and not exists (
                    select
                    from public.smelt_files as f
                    join storage.objects as o on o.bucket_id = 'smelt-audio' and o.name = f.upload_path
                    where f.smelt_id = s.id
                )
            order by s.batch_id, s.id
            for update of s skip locked
        loop
            if smelt.is_expired(v_smelt) then
                perform smelt.erase(v_smelt);
                v_count := v_count + 1;
            elsif v_smelt.audio_state = 'removing' then
                update public.smelts as s set audio_state = 'removed' where s.id = v_smelt.id;
                v_count := v_count + 1;
            end if;
        end loop;
        return jsonb_build_object('purged', v_count);
    end
    $$;

-- Note that a worker is there, and what it says of itself; forget one that leaves.
create function smelt.heartbeat_worker(p_worker_id text, p_info jsonb, p_leaving boolean) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    begin
        if p_leaving then
            delete from smelt.workers as w where w.worker_id = p_worker_id;
            perform smelt.leave_janitor(p_worker_id);
            return '{}';
        end if;
        insert into smelt.workers as w (worker_id, info)
        values (p_worker_id, coalesce(p_info, '{}'))
        on conflict (worker_id) do update set info = excluded.info, seen_at = clock_timestamp();
        return '{}';
    end
    $$;

-- Take broadcasts that are owed: those of one smelt at once, or what nobody has sent for 5 seconds.
create function public.claim_outbox(
    worker_id text, max_count integer default 20, smelt_id uuid default null, lease_s integer default 15
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.claim_outbox(
            claim_outbox.worker_id, claim_outbox.max_count, claim_outbox.smelt_id, claim_outbox.lease_s
        )
    $$;

-- Settle broadcasts that were acknowledged.
create function public.settle_outbox(ids bigint[]) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.settle_outbox(settle_outbox.ids) $$;

-- List the objects to remove through Storage, and the smelts to confirm afterwards, to one worker at a time: whoever
-- gets a list goes on until it is empty, or is waited for as long as its lease.
create function public.list_expired(
    worker_id text, max_count integer default 100, lease_s integer default 30
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.list_expired(list_expired.worker_id, list_expired.max_count, list_expired.lease_s) $$;

-- Confirm what was removed through Storage.
create function public.confirm_purged(paths text[], smelt_ids uuid[]) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.confirm_purged(confirm_purged.paths, confirm_purged.smelt_ids) $$;

-- Say that a worker is there, or that it leaves: its row goes then, so that one that stays unseen tells of a crash.
create function public.heartbeat_worker(worker_id text, info jsonb, leaving boolean default false) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.heartbeat_worker(heartbeat_worker.worker_id, heartbeat_worker.info, heartbeat_worker.leaving)
    $$;

revoke all on function
    smelt.claim_outbox, smelt.settle_outbox, smelt.is_expired, smelt.mark_expired, smelt.take_janitor,
    smelt.leave_janitor, smelt.expired, smelt.list_expired, smelt.confirm_purged, smelt.heartbeat_worker,
    public.claim_outbox, public.settle_outbox, public.list_expired, public.confirm_purged, public.heartbeat_worker
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.claim_outbox, smelt.settle_outbox, smelt.list_expired, smelt.confirm_purged, smelt.heartbeat_worker,
    public.claim_outbox, public.settle_outbox, public.list_expired, public.confirm_purged, public.heartbeat_worker
    to service_role;
