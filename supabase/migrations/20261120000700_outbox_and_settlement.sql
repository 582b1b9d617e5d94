-- The end of a run, and the outbox. Callers of these functions hold the lock on the row of the smelt. Locks are taken
-- in one order everywhere: the smelt, then the ranks of its owner, then its batch.

-- Return the shortest time between two wake-ups. Every worker receives each of them; for a single one it is shorter.
create function smelt.wake_up_interval() returns interval
    language sql stable
    set search_path = ''
    as $$ select case (select count(*) from smelt.live_workers) when 1 then interval '50 ms' else interval '1 s' end $$;

-- Move a time of wake-ups forward to `p_at`; return false if it is after `p_until` already, or if another transaction
-- moves it at this moment: a locked row is skipped.
create function smelt.move_wake_up(p_kind text, p_until timestamptz, p_at timestamptz) returns boolean
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        update smelt.wake_ups as w
        set at = p_at
        where w.kind in (
            select u.kind from smelt.wake_ups as u where u.kind = p_kind and u.at <= p_until for update skip locked
        );
        return found;
    end
    $$;

-- Wake idle workers: send on their channel, at most once per interval. A skipped wake-up is made up for: one of the
-- workers that the last one has woken claims again after the interval.
create function smelt.send_wake_up() returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
    begin
        if smelt.move_wake_up('sent', v_now - smelt.wake_up_interval(), v_now) then
            perform realtime.send(jsonb_build_object('sent_at', v_now), 'smelt', 'smelt-workers', true);
        end if;
    end
    $$;

-- Trigger: wake workers for a smelt that is claimable, now or later. It is deferred to the commit, so that the time
-- between the wake-up, sent or skipped, and the visibility of the smelt is short.
create function smelt.wake_workers() returns trigger
    language plpgsql security definer
    set search_path = ''
    as $$
    begin
        perform smelt.send_wake_up();
        return null;
    end
    $$;
create constraint trigger wake_workers after insert or update of claimable_at on public.smelts
    deferrable initially deferred
    for each row when (new.claimable_at is not null) execute function smelt.wake_workers();

-- Broadcast the progress of a smelt after a change that the database made, which no worker would broadcast.
create function smelt.broadcast_progress(p_smelt public.smelts) returns void
    language sql volatile
    set search_path = ''
    as $$
        select realtime.send(
            smelt.progress_payload(p_smelt, gen_random_uuid(), clock_timestamp()) || case
                when octet_length(o.outputs::text) <= 48 * 1024 then jsonb_build_object('outputs', o.outputs)
                else '{}'
            end,
            'progress', smelt.topic_of(p_smelt.id), true
        )
        from smelt.outputs_of(p_smelt.id) as o (outputs)
    $$;

-- Trigger: broadcast the ids of deleted smelts to their owner, at most 500 in a message; not to an owner who is deleted
-- with them.
create function smelt.notify_deletion() returns trigger
    language plpgsql security definer
    set search_path = ''
    as $$
    begin
        perform realtime.send(
            jsonb_build_object('ids', jsonb_agg(numbered.id)), 'smelts_deleted', 'smelt-feed:' || numbered.user_id, true
        )
        from (
            select d.id, d.user_id, (row_number() over (partition by d.user_id) - 1) / 500 as part
            from deleted as d
            join auth.users as u on u.id = d.user_id
        ) as numbered
        group by numbered.user_id, numbered.part;
        return null;
    end
    $$;
create trigger notify_deletion after delete on public.smelts referencing old table as deleted
    for each statement execute function smelt.notify_deletion();

-- Store an event in the outbox. With `p_send` it is also broadcast at once, under the same event id: then no worker
-- knows of the change.
create function smelt.enqueue_outbox(
    p_smelt public.smelts, p_topic text, p_event text, p_payload jsonb, p_send boolean
) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        insert into smelt.outbox (event_id, smelt_id, run, topic, event, payload)
        values ((p_payload ->> 'event_id')::uuid, p_smelt.id, p_smelt.run, p_topic, p_event, p_payload);
        if p_send then
            perform realtime.send(p_payload, p_event, p_topic, true);
        end if;
    end
    $$;

-- Lease locked events to a worker and return them in order, to be sent.
create function smelt.lease_outbox(p_ids bigint[], p_worker_id text, p_lease interval) returns jsonb
    language sql volatile
    set search_path = ''
    as $$
        with leased as (
            update smelt.outbox as o
            set leased_by = p_worker_id, leased_until = clock_timestamp() + p_lease
            where o.id = any (p_ids)
            returning o.*
        )
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', l.id, 'event_id', l.event_id, 'topic', l.topic, 'event', l.event, 'payload', l.payload
                )
                order by l.id
            ),
            '[]'
        )
        from leased as l
    $$;

-- Delete unsent events of a topic before a newer one is stored that contains more. A locked row is skipped: it is being
-- claimed or settled, and watchers drop the older event.
create function smelt.supersede_outbox(p_topic text) returns void
    language sql volatile
    set search_path = ''
    as $$
        delete from smelt.outbox
        where id in (select o.id from smelt.outbox as o where o.topic = p_topic for update skip locked)
    $$;

-- Move the counts of the batches of these smelts. The update locks a batch: of two transactions that end a smelt each,
-- the second one counts both. Batches are locked in the order of their ids.
create function smelt.move_batch_counts(p_batch_ids uuid[], p_statuses text[], p_direction integer) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_moved record;
    begin
        for v_moved in
            select
                m.batch_id, count(*) as total, count(*) filter (where m.status = 'completed') as completed,
                count(*) filter (where m.status = 'failed') as failed
            from unnest(p_batch_ids, p_statuses) as m (batch_id, status)
            where m.batch_id is not null
            group by m.batch_id
            order by m.batch_id
        loop
            update public.smelt_batches as b
            set total = b.total + p_direction * v_moved.total,
                completed = b.completed + p_direction * v_moved.completed,
                failed = b.failed + p_direction * v_moved.failed
            where b.id = v_moved.batch_id;
        end loop;
    end
    $$;

-- Trigger: move the counts of batches to which smelts are added, or whose smelts are deleted.
create function smelt.count_members() returns trigger
    language plpgsql security definer
    set search_path = ''
    as $$
    begin
        perform smelt.move_batch_counts(
            array_agg(m.batch_id), array_agg(m.status), case tg_op when 'INSERT' then 1 else -1 end
        )
        from members as m
        where m.batch_id is not null;
        return null;
    end
    $$;
create trigger count_added_members after insert on public.smelts referencing new table as members
    for each statement execute function smelt.count_members();
create trigger count_deleted_members after delete on public.smelts referencing old table as members
    for each statement execute function smelt.count_members();

-- Trigger: move the counts of the batch of a smelt that ends, is retried, or leaves its batch.
create function smelt.count_changed_member() returns trigger
    language plpgsql security definer
    set search_path = ''
    as $$
    begin
        if old.batch_id is not distinct from new.batch_id then
            update public.smelt_batches as b
            set completed = b.completed + (new.status = 'completed')::integer - (old.status = 'completed')::integer,
                failed = b.failed + (new.status = 'failed')::integer - (old.status = 'failed')::integer
            where b.id = new.batch_id;
        else
            perform smelt.move_batch_counts(array[old.batch_id], array[old.status], -1);
            perform smelt.move_batch_counts(array[new.batch_id], array[new.status], 1);
        end if;
        return null;
    end
    $$;
create trigger count_changed_member after update of batch_id, status on public.smelts
    for each row
    when (
        old.batch_id is distinct from new.batch_id
        or (new.batch_id is not null and old.status <> new.status
            and (old.status in ('completed', 'failed') or new.status in ('completed', 'failed')))
    )
    execute function smelt.count_changed_member();

-- The members of a batch in progress: a worker has claimed them, and they have not ended.
create type smelt.batch_progress as (
    count bigint, pending_count bigint, percentage_sum numeric, estimated_count bigint, last_end_at timestamptz
);

-- Sum up the members of a batch in progress, from an index of them alone.
create function smelt.members_in_progress(p_batch_id uuid) returns smelt.batch_progress
    language sql stable
    set search_path = ''
    as $$
        select
            count(*), count(*) filter (where s.status = 'pending'), coalesce(sum(s.percentage), 0),
            count(s.estimated_end_at), max(s.estimated_end_at)
        from public.smelts as s
        where s.batch_id = p_batch_id and s.started_at is not null and s.status not in ('completed', 'failed')
    $$;

-- Store the progress of a batch, one of whose smelts was added, has ended, or was deleted, in the row and the outbox.
-- Of the members only those in progress are read; the others are counted by triggers.
create function smelt.update_batch_progress(p_batch_id uuid, p_cause public.smelts, p_send boolean) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_batch public.smelt_batches;
        v_topic constant text := 'smelt-batch:' || p_batch_id;
        v_now timestamptz;
        v_progress smelt.batch_progress;
        v_open integer;
        v_had_ended boolean;
    begin
        select b.* into v_batch from public.smelt_batches as b where b.id = p_batch_id for no key update;
        if not found then
            return;
        end if;
        v_now := clock_timestamp();
        v_had_ended := smelt.is_terminal(v_batch.status);
        v_progress := smelt.members_in_progress(p_batch_id);
        v_open := v_batch.total - v_batch.completed - v_batch.failed;
        update public.smelt_batches as b
        set seq = b.seq + 1, updated_at = v_now,
            progress = coalesce(
                ((b.completed + b.failed) * 100 + v_progress.percentage_sum) / nullif(b.total, 0), 0
            ),
            status = case
                when v_open = b.total and v_progress.pending_count = v_progress.count then 'pending'
                when v_open > 0 then 'processing'
                when b.completed = 0 then 'failed'
                else 'completed'
            end
        where b.id = p_batch_id
        returning b.* into v_batch;
        perform smelt.supersede_outbox(v_topic);
        perform smelt.enqueue_outbox(p_cause, v_topic, 'progress', jsonb_build_object(
            'batch_id', v_batch.id, 'total', v_batch.total, 'completed', v_batch.completed, 'failed', v_batch.failed,
            'progress', v_batch.progress, 'status', v_batch.status,
            -- The batch has an ETA only if each of its open smelts has one.
            'eta_seconds', case
                when v_progress.estimated_count = v_open then smelt.seconds_until(v_progress.last_end_at, v_now)
            end,
            'seq', v_batch.seq, 'event_id', gen_random_uuid(), 'emitted_at', v_now
        ), p_send);
        if smelt.is_terminal(v_batch.status) and not v_had_ended then
            perform smelt.enqueue_batch_webhooks(v_batch);
        end if;
    end
    $$;

-- Store the notification that a smelt of a user has ended, and its event in the outbox. The id of the row is also the
-- event id.
create function smelt.enqueue_notification(p_smelt public.smelts, p_send boolean) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_row public.smelt_notifications;
    begin
        insert into public.smelt_notifications (user_id, smelt_id, type, title, message, data)
        select
            p_smelt.user_id, p_smelt.id, 'smelt_' || p_smelt.status,
            case
                when p_smelt.error_code = 'cancelled' then 'Cancelled'
                when p_smelt.status = 'failed' then 'Processing failed'
                when p_smelt.outcome = 'partial' then 'Ready in part'
                else 'Ready'
            end || ': ' || string_agg(f.filename, ', ' order by f.position),
            coalesce(p_smelt.error_message, case p_smelt.outcome
                when 'complete' then 'All files are processed.'
                else 'Some files could not be processed.'
            end),
            jsonb_strip_nulls(jsonb_build_object(
                'outcome', p_smelt.outcome, 'error_code', p_smelt.error_code, 'batch_id', p_smelt.batch_id,
                'run', p_smelt.run
            )) || jsonb_build_object('metadata', p_smelt.metadata)
        from public.smelt_files as f
        where f.smelt_id = p_smelt.id
        returning * into v_row;
        perform smelt.enqueue_outbox(
            p_smelt, 'smelt-notifications:' || p_smelt.user_id, 'new_notification',
            to_jsonb(v_row) || jsonb_build_object('event_id', v_row.id), p_send
        );
    end
    $$;

-- Return the response to a settling call.
create function smelt.settlement_response(p_verdict text, p_smelt public.smelts) returns jsonb
    language sql stable
    set search_path = ''
    as $$
        select jsonb_build_object(
            'verdict', p_verdict, 'status', p_smelt.status, 'outcome', p_smelt.outcome,
            'error_code', p_smelt.error_code, 'completed_at', p_smelt.completed_at,
            'claimable_at', p_smelt.claimable_at
        )
    $$;

-- Return the work during which a file may stop its worker, as a participle; `processing` if it is unknown.
create function smelt.work_at_risk(p_risk text) returns text
    language sql immutable
    set search_path = ''
    as $$
        select case p_risk
            when 'decode' then 'decoding'
            when 'model' then 'transcribing'
            when 'external' then 'transcribing'
            else 'processing'
        end
    $$;

-- Record for the operator why an attempt ends, and if it counts as a failure. Its lease, which has the risk, must still
-- exist.
create function smelt.record_attempt(
    p_smelt_id uuid, p_attempt bigint, p_is_failure boolean, p_reason text
) returns void
    language sql volatile
    set search_path = ''
    as $$
        update smelt.attempts as a
        set is_failure = p_is_failure, reason = nullif(left(p_reason, 500), ''), risk = l.risk
        from smelt.leases as l
        where a.smelt_id = p_smelt_id and a.attempt = p_attempt
            and l.smelt_id = a.smelt_id and l.attempt = a.attempt
    $$;

-- Return true if a worker of another host that has this model is alive.
create function smelt.is_other_host_alive(p_host text, p_model text) returns boolean
    language sql stable
    set search_path = ''
    as $$
        select exists (
            select from smelt.live_workers as w
            where w.host <> p_host and p_model = any (smelt.models_of_info(w.info))
        )
    $$;

-- Return true if a smelt ends after this many failures in a row without progress, the last of which is recorded: at the
-- limit if they happened on two hosts or no other host is alive, else at the limit for one host.
create function smelt.is_at_failure_limit(p_smelt_id uuid, p_failure_count integer) returns boolean
    language sql stable
    set search_path = ''
    as $$
        with failed as (
            select a.host
            from smelt.attempts as a
            where a.smelt_id = p_smelt_id and a.is_failure
            order by a.attempt desc
            limit p_failure_count
        )
        select p_failure_count >= l.max_failures and (
            p_failure_count >= l.max_failures_on_one_host
            or (
                select count(distinct f.host) <> 1 or not smelt.is_other_host_alive(
                    min(f.host), (select s.queue_model from public.smelts as s where s.id = p_smelt_id)
                )
                from failed as f
            )
        )
        from smelt.limits as l
    $$;

-- Return the sentence for the owner of a smelt that ends because its workers stopped: how often, and during what.
create function smelt.stopped_sentence(p_smelt_id uuid, p_failure_count integer) returns text
    language sql stable
    set search_path = ''
    as $$
        with failed as (
            select a.attempt, a.risk, a.ended_as is distinct from 'retrying' as has_stopped
            from smelt.attempts as a
            where a.smelt_id = p_smelt_id and a.is_failure
            order by a.attempt desc
            limit p_failure_count
        ), known as (
            select
                bool_and(f.has_stopped) as always_stopped,
                case count(distinct coalesce(f.risk, '')) when 1 then min(f.risk) end as risk,
                (array_agg(f.risk order by f.attempt desc))[1] as last_risk,
                (
                    select case count(*) when 1 then 'this file' else 'these files' end
                    from public.smelt_files as s
                    where s.smelt_id = p_smelt_id
                ) as files
            from failed as f
        )
        select case
            when k.always_stopped then format(
                'The worker stopped %s while %s %s.',
                case p_failure_count when 1 then 'once' else p_failure_count || ' times' end,
                smelt.work_at_risk(k.risk), k.files
            )
            else format(
                'Processing failed %s times; the last time, the worker stopped while %s %s.',
                p_failure_count, smelt.work_at_risk(k.last_risk), k.files
            )
        end
        from known as k
    $$;

-- Delete the lease of an attempt and store its response, which repeated calls get again; return it.
create function smelt.end_attempt(p_smelt public.smelts, p_attempt bigint, p_verdict text) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_response constant jsonb := smelt.settlement_response(p_verdict, p_smelt);
        v_risk text;
    begin
        delete from smelt.leases as l where l.smelt_id = p_smelt.id returning l.risk into v_risk;
        update smelt.attempts as a
        set ended_at = clock_timestamp(), ended_as = p_verdict, response = v_response, risk = coalesce(a.risk, v_risk)
        where a.smelt_id = p_smelt.id and a.attempt = p_attempt and a.response is null;
        return v_response;
    end
    $$;

-- End the files of a smelt that have not ended: as failed with the code, or as completed if the code is null.
create function smelt.settle_files(p_smelt_id uuid, p_error_code text, p_error_message text) returns void
    language sql volatile
    set search_path = ''
    as $$
        update public.smelt_files as f
        set status = case when p_error_code is null then 'completed' else 'failed' end,
            stage = case when p_error_code is null then 'completed' else 'failed' end,
            progress = case when p_error_code is null then 100 else f.progress end,
            error_code = p_error_code,
            error_message = p_error_message
        where f.smelt_id = p_smelt_id and f.status not in ('completed', 'failed')
    $$;

-- Store the event `completed` or `failed` in the outbox.
create function smelt.enqueue_end(p_smelt public.smelts, p_now timestamptz, p_send boolean) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_payload constant jsonb := case p_smelt.status
            when 'completed' then smelt.completed_payload(p_smelt, gen_random_uuid(), p_now)
            else smelt.failed_payload(p_smelt, gen_random_uuid(), p_now)
        end;
    begin
        perform smelt.enqueue_outbox(p_smelt, smelt.topic_of(p_smelt.id), p_smelt.status, v_payload, p_send);
    end
    $$;

-- Return until when the audio of a smelt is kept after its end: as long as the smelt requests, and that of a failed or
-- partial one at least as long as usual. Null if the smelt requests nothing, or has no audio.
create function smelt.audio_kept_until(
    p_options jsonb, p_audio_state text, p_outcome text, p_completed_at timestamptz
) returns timestamptz
    language sql stable
    set search_path = ''
    as $$
        select p_completed_at + make_interval(secs => 3600 * greatest(
            (p_options ->> 'keep_audio_h')::double precision,
            case when p_outcome is distinct from 'complete' then l.audio_retention_h end
        ))
        from smelt.limits as l
        where p_options ? 'keep_audio_h' and p_audio_state = 'stored'
    $$;

-- Return the state of the audio of a smelt after its end. It is to be removed at once if the smelt is complete, if it
-- was never submitted, or if no retry could use it: each file is not a recording, damaged, or too long. A submitted
-- smelt that asks to keep its audio keeps it.
create function smelt.audio_state_at_end(p_smelt public.smelts, p_outcome text) returns text
    language sql stable
    set search_path = ''
    as $$
        select case
            when p_smelt.audio_state = 'expected' then 'removing'
            when p_smelt.audio_state = 'stored' and not p_smelt.options ? 'keep_audio_h' and (
                p_outcome = 'complete' or not exists (
                    select from public.smelt_files as f
                    where f.smelt_id = p_smelt.id
                        and coalesce(f.error_code, '') not in ('invalid_format', 'corrupted_file', 'duration_exceeded')
                )
            ) then 'removing'
            else p_smelt.audio_state
        end
    $$;

-- Return true if recordings of an ended smelt were uploaded but never submitted, and are not removed yet. They count
-- toward the limit of open smelts: otherwise a caller could fill the bucket by cancelling after each upload.
create function smelt.has_unused_audio(p_smelt public.smelts) returns boolean
    language sql stable
    set search_path = ''
    as $$
        select p_smelt.audio_state = 'removing' and p_smelt.submitted_at is null and exists (
            select from public.smelt_files as f
            join storage.objects as o on o.bucket_id = 'smelt-audio' and o.name = f.upload_path
            where f.smelt_id = p_smelt.id
        )
    $$;

-- End the run of a smelt: as failed with the code, or as completed if the code is null. This is the one place where a
-- smelt becomes terminal: row, files, lease, response, event, webhooks, notification and batch in one transaction.
-- Without `p_error_message`, the message is that of the code. Without `p_notify`, the owner gets no notification: the
-- smelt is deleted, and the message would keep the names of its files for days.
create function smelt.settle_smelt(
    p_smelt_id uuid, p_error_code text, p_send boolean, p_error_message text default null, p_notify boolean default true
) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_status constant text := case when p_error_code is null then 'completed' else 'failed' end;
        v_error_message constant text := coalesce(p_error_message, smelt.error_sentence(p_error_code));
        v_outcome text;
        v_smelt public.smelts;
        v_response jsonb;
    begin
        if v_status = 'completed' then
            v_outcome := case when exists (
                select from public.smelt_files as f where f.smelt_id = p_smelt_id and f.status = 'failed'
            ) then 'partial' else 'complete' end;
        end if;
        perform smelt.settle_files(p_smelt_id, p_error_code, v_error_message);
        update public.smelts as s
        set status = v_status, message = smelt.stage_message(v_status),
            percentage = case v_status when 'completed' then 100 else s.percentage end,
            outcome = v_outcome, error_code = p_error_code, error_message = v_error_message,
            completed_at = v_now, updated_at = v_now, seq = s.seq + 1,
            claimable_at = null, queue_rank = null, estimated_end_at = null,
            audio_kept_until = smelt.audio_kept_until(s.options, s.audio_state, v_outcome, v_now),
            audio_state = smelt.audio_state_at_end(s, v_outcome)
        where s.id = p_smelt_id
        returning s.* into v_smelt;
        update smelt.requests as r
        set client_hash = null
        where r.smelt_id = p_smelt_id and r.client_hash is not null and not smelt.has_unused_audio(v_smelt);
        delete from smelt.suspects as x where x.smelt_id = p_smelt_id;
        delete from smelt.outputs as o using public.smelt_files as f where f.id = o.file_id and f.smelt_id = p_smelt_id;
        v_response := smelt.end_attempt(v_smelt, v_smelt.attempt, 'settled');

        perform smelt.enqueue_end(v_smelt, v_now, p_send);
        perform smelt.enqueue_smelt_webhooks(v_smelt);
        if p_notify and v_smelt.user_id is not null then
            perform smelt.enqueue_notification(v_smelt, p_send);
        end if;
        if v_smelt.batch_id is not null then
            perform smelt.update_batch_progress(v_smelt.batch_id, v_smelt, p_send);
        end if;
        return v_response;
    end
    $$;

revoke all on function
    smelt.wake_up_interval, smelt.move_wake_up, smelt.send_wake_up, smelt.wake_workers, smelt.broadcast_progress,
    smelt.notify_deletion, smelt.enqueue_outbox, smelt.lease_outbox, smelt.supersede_outbox, smelt.move_batch_counts,
    smelt.count_members, smelt.count_changed_member, smelt.members_in_progress, smelt.update_batch_progress,
    smelt.enqueue_notification, smelt.settlement_response, smelt.work_at_risk, smelt.record_attempt,
    smelt.is_other_host_alive, smelt.is_at_failure_limit, smelt.stopped_sentence, smelt.end_attempt, smelt.settle_files,
    smelt.enqueue_end, smelt.audio_kept_until, smelt.audio_state_at_end, smelt.has_unused_audio, smelt.settle_smelt
    from public, anon, authenticated, service_role;
