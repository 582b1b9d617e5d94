-- Webhooks: signed HTTP requests about the ends of smelts and batches, which workers send.

-- The webhooks of a user, or of the operator for all smelts of the project (`user_id` is null).
create table public.smelt_webhooks (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references auth.users (id) on delete cascade,
    url text not null,
    events text[] not null,
    enabled boolean not null default true,
    disabled_reason text,
    last_attempt_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint smelt_webhooks_url_length check (char_length(url) between 1 and 2000),
    constraint smelt_webhooks_events_known check (
        cardinality(events) > 0 and events <@ array['smelt.completed', 'smelt.failed', 'batch.completed']
    ),
    constraint smelt_webhooks_disabled_reason_known check (disabled_reason in ('requested', 'failing', 'gone')),
    constraint smelt_webhooks_reason_iff_disabled check ((disabled_reason is not null) = (not enabled))
);
create index smelt_webhooks_user_id_idx on public.smelt_webhooks (user_id);

-- The secrets that sign the requests. After a rotation, both sign until `previous_until`.
create table smelt.webhook_secrets (
    webhook_id uuid primary key references public.smelt_webhooks (id) on delete cascade,
    secret text not null,
    previous_secret text,
    previous_until timestamptz,
    constraint webhook_secrets_previous_whole check ((previous_secret is not null) = (previous_until is not null))
);

-- One row for each event and webhook, until a week after its end; its id is the `webhook-id` of all its attempts. It
-- does not depend on its smelt, which may be deleted meanwhile. From `next_at` on a worker may send it, unless the
-- lease of another worker has not expired. The last attempt has a status code, or an error if there was no response.
create table smelt.webhook_deliveries (
    id uuid primary key default gen_random_uuid(),
    webhook_id uuid not null references public.smelt_webhooks (id) on delete cascade,
    event text not null,
    payload jsonb not null,
    status text not null default 'pending',
    attempt integer not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    next_at timestamptz default clock_timestamp(),
    leased_by text,
    leased_until timestamptz,
    attempted_at timestamptz,
    status_code integer,
    error text,
    duration_ms integer,
    ended_at timestamptz,
    constraint webhook_deliveries_status_known check (status in ('pending', 'delivered', 'failed')),
    constraint webhook_deliveries_ended_at_iff_ended check ((ended_at is not null) = (status <> 'pending')),
    constraint webhook_deliveries_next_at_iff_pending check ((next_at is not null) = (status = 'pending')),
    constraint webhook_deliveries_lease_whole check ((leased_by is not null) = (leased_until is not null)),
    constraint webhook_deliveries_lease_only_pending check (leased_by is null or status = 'pending')
);
create index webhook_deliveries_pending_idx on smelt.webhook_deliveries (webhook_id, next_at)
    where next_at is not null;
create index webhook_deliveries_leased_idx on smelt.webhook_deliveries (webhook_id) where leased_until is not null;
create index webhook_deliveries_webhook_id_idx on smelt.webhook_deliveries (webhook_id, created_at desc);
create index webhook_deliveries_ended_at_idx on smelt.webhook_deliveries (ended_at) where ended_at is not null;

alter table public.smelt_webhooks enable row level security;
create policy "owners read their webhooks" on public.smelt_webhooks
    for select to authenticated using (user_id = (select auth.uid()));
revoke all on public.smelt_webhooks, smelt.webhook_secrets, smelt.webhook_deliveries
    from public, anon, authenticated, service_role;
grant select on public.smelt_webhooks to authenticated, service_role;

-- Reject a URL that is not http:// or https:// with a host and an allowed port, in ASCII. User information and
-- fragments are not allowed. Workers check the addresses of the host when they connect.
create function smelt.check_webhook_url(p_url text) returns void
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_port constant integer := substring(p_url from '^[a-zA-Z]+://[^/?]*:([0-9]{1,5})(?:[/?]|$)');
    begin
        if p_url is null or char_length(p_url) > 2000
            or p_url !~* '^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?([/?][!$-~]*)?$'
        then
            perform smelt.raise_rejection(
                'invalid_request',
                'A webhook needs a URL in ASCII, of https:// and the name of a host, with at most 2000 characters.'
            );
        elsif v_port not in (80, 443) and v_port not between 1024 and 65535 then
            perform smelt.raise_rejection(
                'invalid_request', 'The port of a webhook must be 443, 80, or between 1024 and 65535.'
            );
        end if;
    end
    $$;

-- Return events each once and in order, all for null; reject an empty list and unknown ones.
create function smelt.check_webhook_events(p_events text[]) returns text[]
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_known constant text[] := '{smelt.completed,smelt.failed,batch.completed}';
    begin
        if p_events is not null and (cardinality(p_events) = 0 or not p_events <@ v_known) then
            perform smelt.raise_rejection(
                'invalid_request', format('The events of a webhook are %s.', array_to_string(v_known, ', '))
            );
        end if;
        return array(
            select e.event from unnest(v_known) as e (event) where p_events is null or e.event = any (p_events)
        );
    end
    $$;

-- Return a new secret with 244 random bits, in the form of Standard Webhooks.
create function smelt.new_webhook_secret() returns text
    language sql volatile
    set search_path = ''
    as $$ select 'whsec_' || encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64') $$;

-- Return a webhook of the caller, or any one for the service; reject others as not found.
create function smelt.find_webhook(p_webhook_id uuid) returns public.smelt_webhooks
    language plpgsql stable
    set search_path = ''
    as $$
    declare
        v_webhook public.smelt_webhooks;
    begin
        select w.* into v_webhook
        from public.smelt_webhooks as w
        where w.id = p_webhook_id and (w.user_id = auth.uid() or (smelt.current_caller()).is_service);
        if not found then
            perform smelt.raise_rejection('not_found', 'The webhook does not exist, or belongs to another user.');
        end if;
        return v_webhook;
    end
    $$;

-- Lock a webhook that the caller may access, and return it.
create function smelt.lock_webhook(p_webhook_id uuid) returns public.smelt_webhooks
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        perform smelt.find_webhook(p_webhook_id);
        perform from public.smelt_webhooks as w where w.id = p_webhook_id for no key update;
        -- It may have changed or been deleted before the lock.
        return smelt.find_webhook(p_webhook_id);
    end
    $$;

-- Create a webhook of the caller, or of the project if the caller is the service. The response contains the secret,
-- which no other call returns.
create function smelt.create_smelt_webhook(p_url text, p_events text[]) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_caller constant smelt.caller := smelt.current_caller();
        v_max constant integer := (select l.max_webhooks from smelt.limits as l);
        v_events constant text[] := smelt.check_webhook_events(p_events);
        v_secret constant text := smelt.new_webhook_secret();
        v_webhook public.smelt_webhooks;
    begin
        if v_caller.is_anonymous then
            perform smelt.raise_rejection('not_allowed', 'Webhooks need an account that is not anonymous.');
        end if;
        perform smelt.check_webhook_url(p_url);
        -- Two calls of the same user must not both see the last free place.
        perform pg_advisory_xact_lock(
            hashtextextended('smelt webhooks ' || coalesce(v_caller.user_id::text, 'of the project'), 0)
        );
        if (
            select count(*) >= v_max
            from public.smelt_webhooks as w
            where w.user_id is not distinct from v_caller.user_id
        ) then
            perform smelt.raise_rejection(
                'invalid_request', format('There may be at most %s webhooks; delete one first.', v_max)
            );
        end if;
        insert into public.smelt_webhooks (user_id, url, events)
        values (v_caller.user_id, p_url, v_events)
        returning * into v_webhook;
        insert into smelt.webhook_secrets (webhook_id, secret) values (v_webhook.id, v_secret);
        return to_jsonb(v_webhook) || jsonb_build_object('secret', v_secret);
    end
    $$;

-- Disable a webhook and end its pending deliveries as failed.
create function smelt.disable_webhook(p_webhook_id uuid, p_reason text) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    begin
        update public.smelt_webhooks as w
        set enabled = false, disabled_reason = p_reason, updated_at = clock_timestamp()
        where w.id = p_webhook_id and w.enabled;
        update smelt.webhook_deliveries as d
        set status = 'failed', error = 'disabled', next_at = null, leased_by = null,
            leased_until = null, ended_at = clock_timestamp()
        where d.webhook_id = p_webhook_id and d.next_at is not null;
    end
    $$;

-- Change the URL or the events of a webhook, disable it, or enable it again; null leaves a value as it is.
create function smelt.update_smelt_webhook(p_webhook_id uuid, p_url text, p_events text[], p_enabled boolean)
    returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_webhook public.smelt_webhooks := smelt.lock_webhook(p_webhook_id);
        v_events constant text[] := smelt.check_webhook_events(coalesce(p_events, v_webhook.events));
    begin
        perform smelt.check_webhook_url(coalesce(p_url, v_webhook.url));
        if not p_enabled then
            perform smelt.disable_webhook(p_webhook_id, 'requested');
        end if;
        update public.smelt_webhooks as w
        set url = coalesce(p_url, w.url), events = v_events, enabled = w.enabled or coalesce(p_enabled, false),
            disabled_reason = case when not coalesce(p_enabled, false) then w.disabled_reason end,
            updated_at = clock_timestamp()
        where w.id = p_webhook_id
        returning w.* into v_webhook;
        return to_jsonb(v_webhook);
    end
    $$;

-- Replace the secret of a webhook and return the new one; requests are signed with both for some hours, at most a week.
create function smelt.rotate_smelt_webhook_secret(p_webhook_id uuid, p_overlap_h double precision) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_webhook constant public.smelt_webhooks := smelt.lock_webhook(p_webhook_id);
        v_secret constant text := smelt.new_webhook_secret();
    begin
        update smelt.webhook_secrets as s
        set secret = v_secret, previous_secret = s.secret,
            previous_until = clock_timestamp() + make_interval(secs => 3600 * least(greatest(p_overlap_h, 0), 168))
        where s.webhook_id = p_webhook_id;
        return to_jsonb(v_webhook) || jsonb_build_object('secret', v_secret);
    end
    $$;

-- Delete a webhook with its deliveries.
create function smelt.delete_smelt_webhook(p_webhook_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    begin
        perform smelt.lock_webhook(p_webhook_id);
        delete from public.smelt_webhooks as w where w.id = p_webhook_id;
        return '{"deleted": true}';
    end
    $$;

-- Enqueue a delivery `webhook.test`, one at a time. It is attempted once. Return its id, and if a worker is alive.
create function smelt.test_smelt_webhook(p_webhook_id uuid) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_webhook constant public.smelt_webhooks := smelt.lock_webhook(p_webhook_id);
        v_delivery_id uuid;
    begin
        if not v_webhook.enabled then
            perform smelt.raise_rejection('invalid_request', 'The webhook is disabled; enable it first.');
        elsif exists (
            select from smelt.webhook_deliveries as d
            where d.webhook_id = p_webhook_id and d.event = 'webhook.test' and d.next_at is not null
        ) then
            perform smelt.raise_rejection('invalid_request', 'A test of this webhook is already waiting for a worker.');
        end if;
        insert into smelt.webhook_deliveries (webhook_id, event, payload)
        values (p_webhook_id, 'webhook.test', jsonb_build_object(
            'type', 'webhook.test', 'timestamp', clock_timestamp(), 'data', jsonb_build_object('id', p_webhook_id)
        ))
        returning id into v_delivery_id;
        return jsonb_build_object(
            'delivery_id', v_delivery_id, 'worker_online', exists (select from smelt.live_workers)
        );
    end
    $$;

-- Return the newest deliveries of a webhook, or one of them.
create function smelt.get_smelt_webhook_deliveries(p_webhook_id uuid, p_max_count integer, p_delivery_id uuid)
    returns jsonb
    language plpgsql stable security definer
    set search_path = ''
    as $$
    begin
        perform smelt.find_webhook(p_webhook_id);
        return (
            select coalesce(
                jsonb_agg(
                    jsonb_build_object(
                        'id', d.id, 'event', d.event, 'payload', d.payload, 'status', d.status, 'attempt', d.attempt,
                        'status_code', d.status_code, 'error', d.error, 'duration_ms', d.duration_ms,
                        'created_at', d.created_at, 'attempted_at', d.attempted_at, 'next_at', d.next_at,
                        'ended_at', d.ended_at
                    )
                    order by d.created_at desc, d.id
                ),
                '[]'
            )
            from (
                select d.*
                from smelt.webhook_deliveries as d
                where d.webhook_id = p_webhook_id and (p_delivery_id is null or d.id = p_delivery_id)
                order by d.created_at desc, d.id
                limit least(greatest(coalesce(p_max_count, 50), 0), 500)
            ) as d
        );
    end
    $$;

-- Enqueue an event for the enabled webhooks of its owner and of the project. The lock keeps them from being deleted
-- before the commit, which would make it fail.
create function smelt.enqueue_webhooks(p_user_id uuid, p_event text, p_occurred_at timestamptz, p_data jsonb)
    returns void
    language sql volatile
    set search_path = ''
    as $$
        insert into smelt.webhook_deliveries (webhook_id, event, payload)
        select w.id, p_event, jsonb_build_object('type', p_event, 'timestamp', p_occurred_at, 'data', p_data)
        from public.smelt_webhooks as w
        where w.enabled and p_event = any (w.events) and (w.user_id = p_user_id or w.user_id is null)
        for key share
    $$;

-- Enqueue the event that a smelt has ended, with its ids, state and metadata.
create function smelt.enqueue_smelt_webhooks(p_smelt public.smelts) returns void
    language sql volatile
    set search_path = ''
    as $$
        select smelt.enqueue_webhooks(
            p_smelt.user_id, 'smelt.' || p_smelt.status, p_smelt.completed_at, jsonb_build_object(
                'id', p_smelt.id, 'status', p_smelt.status, 'outcome', p_smelt.outcome,
                'error_code', p_smelt.error_code, 'run', p_smelt.run, 'batch_id', p_smelt.batch_id,
                'user_id', p_smelt.user_id, 'metadata', p_smelt.metadata
            )
        )
    $$;

-- Enqueue the event that all smelts of a batch have ended, with their counts.
create function smelt.enqueue_batch_webhooks(p_batch public.smelt_batches) returns void
    language sql volatile
    set search_path = ''
    as $$
        select smelt.enqueue_webhooks(
            p_batch.user_id, 'batch.completed', p_batch.updated_at, jsonb_build_object(
                'id', p_batch.id, 'status', p_batch.status, 'total', p_batch.total, 'completed', p_batch.completed,
                'failed', p_batch.failed, 'user_id', p_batch.user_id
            )
        )
    $$;

-- Return the webhooks with a pending delivery, each with the time of the first one. Each step reads one row of the
-- index: the cost depends on the number of these webhooks, not of the deliveries.
create function smelt.webhooks_with_pending() returns table (webhook_id uuid, next_at timestamptz)
    language sql stable
    set search_path = ''
    as $$
        with recursive pending as (
            (
                select d.webhook_id, d.next_at
                from smelt.webhook_deliveries as d
                where d.next_at is not null
                order by d.webhook_id, d.next_at
                limit 1
            )
            union all
            select n.webhook_id, n.next_at
            from pending as p
            cross join lateral (
                select d.webhook_id, d.next_at
                from smelt.webhook_deliveries as d
                where d.next_at is not null and d.webhook_id > p.webhook_id
                order by d.webhook_id, d.next_at
                limit 1
            ) as n
        )
        select p.webhook_id, p.next_at from pending as p
    $$;

-- Lock webhooks that have a due delivery, those first whose last attempt is the longest ago: the deliveries of one that
-- does not respond do not hold up those of others.
create function smelt.lock_due_webhooks(p_max_count integer) returns setof uuid
    language sql volatile
    set search_path = ''
    as $$
        select w.id
        from public.smelt_webhooks as w
        where w.id in (
            select p.webhook_id
            from smelt.webhooks_with_pending() as p
            where p.next_at <= clock_timestamp() and not exists (
                select from smelt.webhook_deliveries as d
                where d.webhook_id = p.webhook_id and d.leased_until > clock_timestamp()
            )
        )
        order by w.last_attempt_at nulls first, w.id
        limit p_max_count
        for no key update skip locked
    $$;

-- Lease the next due delivery of a locked webhook to a worker and return it with the URL, the body and the secrets;
-- null if another worker has leased one meanwhile. `sent_at` is in seconds since 1970. A delivery that had no result
-- far more often than workers are killed ends instead.
create function smelt.lease_webhook_delivery(p_webhook_id uuid, p_worker_id text, p_lease interval) returns jsonb
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_delivery smelt.webhook_deliveries;
    begin
        with due as materialized (
            select d.id
            from smelt.webhook_deliveries as d
            where d.webhook_id = p_webhook_id and d.next_at <= v_now and not exists (
                select from smelt.webhook_deliveries as l
                where l.webhook_id = p_webhook_id and l.leased_until > v_now
            )
            order by d.next_at
            limit 1
        )
        update smelt.webhook_deliveries as d
        set attempt = d.attempt + 1, leased_by = p_worker_id, leased_until = v_now + p_lease, attempted_at = v_now
        from due
        where d.id = due.id
        returning d.* into v_delivery;
        if not found then
            return null;
        elsif v_delivery.attempt > 20 then
            perform smelt.settle_smelt_webhook_delivery(v_delivery.id, v_delivery.attempt, null, 'no_result', null);
            return null;
        end if;
        update public.smelt_webhooks as w set last_attempt_at = v_now where w.id = p_webhook_id;
        return (
            select jsonb_build_object(
                'id', v_delivery.id, 'webhook_id', p_webhook_id, 'event', v_delivery.event,
                'attempt', v_delivery.attempt, 'url', w.url, 'body', v_delivery.payload::text,
                'sent_at', floor(extract(epoch from v_now))::bigint,
                'secrets', array_remove(array[
                    s.secret, case when s.previous_until > v_now then s.previous_secret end
                ], null)
            )
            from public.smelt_webhooks as w
            join smelt.webhook_secrets as s on s.webhook_id = w.id
            where w.id = p_webhook_id
        );
    end
    $$;

-- Lease due deliveries to a worker, at most one of each webhook at a time.
create function smelt.claim_smelt_webhook_deliveries(p_worker_id text, p_max_count integer, p_lease_s integer)
    returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_webhook_id uuid;
        v_delivery jsonb;
        v_claimed jsonb := '[]';
    begin
        for v_webhook_id in select * from smelt.lock_due_webhooks(greatest(coalesce(p_max_count, 4), 0)) loop
            v_delivery := smelt.lease_webhook_delivery(v_webhook_id, p_worker_id, smelt.lease_length(p_lease_s));
            if v_delivery is not null then
                v_claimed := v_claimed || v_delivery;
            end if;
        end loop;
        return v_claimed;
    end
    $$;

-- Return the delay after a failed attempt, with up to 10 % of jitter in either direction; null after the last one,
-- about a day after the first.
create function smelt.webhook_retry_delay(p_attempt integer) returns interval
    language sql volatile
    set search_path = ''
    as $$
        select (0.9 + 0.2 * random()) * (
            '{5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, 4 h, 8 h, 8 h}'::interval[]
        )[p_attempt]
    $$;

-- Store the notification that a webhook of a user was disabled, and its event in the outbox.
create function smelt.enqueue_webhook_notification(p_webhook public.smelt_webhooks, p_reason text) returns void
    language plpgsql volatile
    set search_path = ''
    as $$
    declare
        v_host constant text := substring(p_webhook.url from '://([^/?:]+)');
        v_row public.smelt_notifications;
    begin
        if p_webhook.user_id is null then
            return;
        end if;
        insert into public.smelt_notifications (user_id, type, title, message, data)
        values (
            p_webhook.user_id, 'webhook_disabled', 'Webhook disabled: ' || v_host,
            case p_reason
                when 'gone' then format('%s responded that the endpoint does not exist any longer.', v_host)
                else format('%s did not accept a request for a day.', v_host)
            end,
            jsonb_build_object('webhook_id', p_webhook.id, 'reason', p_reason)
        )
        returning * into v_row;
        insert into smelt.outbox (event_id, topic, event, payload)
        values (
            v_row.id, 'smelt-notifications:' || v_row.user_id, 'new_notification',
            to_jsonb(v_row) || jsonb_build_object('event_id', v_row.id)
        );
    end
    $$;

-- Settle an attempt of a delivery: with a status code 2xx it is delivered, else it is retried until the last attempt
-- has failed. 410 disables the webhook, and so does a failed delivery, unless another one succeeded since it was
-- enqueued. A call of an older attempt changes nothing and returns `lost`; a repeated one returns the status.
create function smelt.settle_smelt_webhook_delivery(
    p_delivery_id uuid, p_attempt integer, p_status_code integer, p_error text, p_duration_ms integer
) returns jsonb
    language plpgsql volatile security definer
    set search_path = ''
    as $$
    declare
        v_now constant timestamptz := clock_timestamp();
        v_is_delivered constant boolean := coalesce(p_status_code between 200 and 299, false);
        v_webhook public.smelt_webhooks;
        v_delivery smelt.webhook_deliveries;
        v_delay interval;
        v_reason text;
    begin
        select w.* into v_webhook
        from smelt.webhook_deliveries as d
        join public.smelt_webhooks as w on w.id = d.webhook_id
        where d.id = p_delivery_id
        for no key update of w;
        select d.* into v_delivery from smelt.webhook_deliveries as d where d.id = p_delivery_id for no key update;
        if not found or v_delivery.attempt <> p_attempt then
            return '{"status": "lost", "disabled_reason": null}';
        elsif v_delivery.leased_by is not null then
            if not v_is_delivered and p_status_code is distinct from 410 and v_delivery.event <> 'webhook.test' then
                v_delay := smelt.webhook_retry_delay(p_attempt);
            end if;
            update smelt.webhook_deliveries as d
            set status = case
                    when v_is_delivered then 'delivered'
                    when v_delay is null then 'failed'
                    else 'pending'
                end,
                next_at = v_now + v_delay, ended_at = case when v_delay is null then v_now end,
                leased_by = null, leased_until = null,
                status_code = p_status_code, error = left(p_error, 100), duration_ms = p_duration_ms
            where d.id = p_delivery_id
            returning d.* into v_delivery;
            v_reason := smelt.reason_to_disable(v_delivery);
            if v_webhook.enabled and v_reason is not null then
                perform smelt.disable_webhook(v_webhook.id, v_reason);
                perform smelt.enqueue_webhook_notification(v_webhook, v_reason);
            end if;
        end if;
        return jsonb_build_object('status', v_delivery.status, 'disabled_reason', v_reason);
    end
    $$;

-- Return why a webhook is to be disabled after a delivery; null if it is not.
create function smelt.reason_to_disable(p_delivery smelt.webhook_deliveries) returns text
    language sql stable
    set search_path = ''
    as $$
        select case
            when p_delivery.status_code = 410 then 'gone'
            when p_delivery.status = 'failed' and p_delivery.event <> 'webhook.test' and not exists (
                select from smelt.webhook_deliveries as d
                where d.webhook_id = p_delivery.webhook_id and d.status = 'delivered'
                    and d.ended_at >= p_delivery.created_at
            ) then 'failing'
        end
    $$;

-- Delete up to 10,000 deliveries that ended more than a week ago.
create function smelt.purge_webhook_deliveries() returns void
    language sql volatile
    set search_path = ''
    as $$
        delete from smelt.webhook_deliveries
        where id in (
            select d.id
            from smelt.webhook_deliveries as d
            where d.ended_at < clock_timestamp() - interval '7 days'
            limit 10000
        )
    $$;

-- Create a webhook and return it with its secret, which no other call returns. Without `events`, it gets all of them.
create function public.create_smelt_webhook(url text, events text[] default null) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.create_smelt_webhook(create_smelt_webhook.url, create_smelt_webhook.events) $$;

-- Change a webhook, disable it, or enable it again.
create function public.update_smelt_webhook(
    webhook_id uuid, url text default null, events text[] default null, enabled boolean default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.update_smelt_webhook(
            update_smelt_webhook.webhook_id, update_smelt_webhook.url, update_smelt_webhook.events,
            update_smelt_webhook.enabled
        )
    $$;

-- Replace the secret of a webhook and return the new one; the old one signs as well for `overlap_h` hours.
create function public.rotate_smelt_webhook_secret(webhook_id uuid, overlap_h double precision default 24)
    returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.rotate_smelt_webhook_secret(
            rotate_smelt_webhook_secret.webhook_id, rotate_smelt_webhook_secret.overlap_h
        )
    $$;

-- Delete a webhook with its deliveries.
create function public.delete_smelt_webhook(webhook_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.delete_smelt_webhook(delete_smelt_webhook.webhook_id) $$;

-- Send a test to a webhook: enqueue a delivery `webhook.test`, which a worker attempts once.
create function public.test_smelt_webhook(webhook_id uuid) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$ select smelt.test_smelt_webhook(test_smelt_webhook.webhook_id) $$;

-- Return the newest deliveries of a webhook of the last week, each with its last attempt and the time of the next one.
create function public.get_smelt_webhook_deliveries(
    webhook_id uuid, max_count integer default 50, delivery_id uuid default null
) returns jsonb
    language sql stable security invoker
    set search_path = ''
    as $$
        select smelt.get_smelt_webhook_deliveries(
            get_smelt_webhook_deliveries.webhook_id, get_smelt_webhook_deliveries.max_count,
            get_smelt_webhook_deliveries.delivery_id
        )
    $$;

-- Claim due deliveries, to be sent: at most one of each webhook at a time.
create function public.claim_smelt_webhook_deliveries(
    worker_id text, max_count integer default 4, lease_s integer default 30
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.claim_smelt_webhook_deliveries(
            claim_smelt_webhook_deliveries.worker_id, claim_smelt_webhook_deliveries.max_count,
            claim_smelt_webhook_deliveries.lease_s
        )
    $$;

-- Settle an attempt of a delivery, with the status code of the response or with an error.
create function public.settle_smelt_webhook_delivery(
    delivery_id uuid, attempt integer, status_code integer default null, error text default null,
    duration_ms integer default null
) returns jsonb
    language sql volatile security invoker
    set search_path = ''
    as $$
        select smelt.settle_smelt_webhook_delivery(
            settle_smelt_webhook_delivery.delivery_id, settle_smelt_webhook_delivery.attempt,
            settle_smelt_webhook_delivery.status_code, settle_smelt_webhook_delivery.error,
            settle_smelt_webhook_delivery.duration_ms
        )
    $$;

revoke all on function
    smelt.check_webhook_url, smelt.check_webhook_events, smelt.new_webhook_secret, smelt.find_webhook,
    smelt.lock_webhook, smelt.create_smelt_webhook, smelt.disable_webhook, smelt.update_smelt_webhook,
    smelt.rotate_smelt_webhook_secret, smelt.delete_smelt_webhook, smelt.test_smelt_webhook,
    smelt.get_smelt_webhook_deliveries, smelt.enqueue_webhooks, smelt.enqueue_smelt_webhooks,
    smelt.enqueue_batch_webhooks, smelt.webhooks_with_pending, smelt.lock_due_webhooks, smelt.lease_webhook_delivery,
    smelt.claim_smelt_webhook_deliveries, smelt.webhook_retry_delay, smelt.enqueue_webhook_notification,
    smelt.settle_smelt_webhook_delivery, smelt.reason_to_disable, smelt.purge_webhook_deliveries,
    public.create_smelt_webhook, public.update_smelt_webhook, public.rotate_smelt_webhook_secret,
    public.delete_smelt_webhook, public.test_smelt_webhook, public.get_smelt_webhook_deliveries,
    public.claim_smelt_webhook_deliveries, public.settle_smelt_webhook_delivery
    from public, anon, authenticated, service_role;
grant execute on function
    smelt.create_smelt_webhook, smelt.update_smelt_webhook, smelt.rotate_smelt_webhook_secret,
    smelt.delete_smelt_webhook, smelt.test_smelt_webhook, smelt.get_smelt_webhook_deliveries,
    public.create_smelt_webhook, public.update_smelt_webhook, public.rotate_smelt_webhook_secret,
    public.delete_smelt_webhook, public.test_smelt_webhook, public.get_smelt_webhook_deliveries
    to authenticated, service_role;
grant execute on function
    smelt.claim_smelt_webhook_deliveries, smelt.settle_smelt_webhook_delivery, public.claim_smelt_webhook_deliveries,
    public.settle_smelt_webhook_delivery
    to service_role;
