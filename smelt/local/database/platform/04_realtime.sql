-- Messages from the database to channels; the policies of private channels apply to this table.
--
-- The platform partitions realtime.messages by day to drop old ones cheaply. Here the table is not partitioned, since
-- messages of a day without a partition would be rejected; the Realtime server deletes messages after 72 hours.

create schema realtime authorization supabase_admin;
grant usage, create on schema realtime to supabase_realtime_admin;
grant usage on schema realtime to postgres, anon, authenticated, service_role;

create table realtime.messages (
    topic text not null,
    extension text not null,
    payload jsonb,
    event text,
    private boolean default false,
    updated_at timestamp not null default now(),
    inserted_at timestamp not null default now(),
    id uuid not null default gen_random_uuid(),
    binary_payload bytea,
    constraint messages_pkey primary key (id, inserted_at)
);
create index messages_inserted_at_topic_idx on realtime.messages (inserted_at desc, topic)
    where extension = 'broadcast' and private is true;

alter table realtime.messages enable row level security;

-- The topic of the current join or broadcast, without `realtime:`.
create function realtime.topic() returns text
    language sql stable
    as $$ select nullif(current_setting('realtime.topic', true), '') $$;

-- Send a message to the members of a channel when this transaction commits; a failure is a warning, never an error.
-- The message's id is added to a payload without an id.
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
    language plpgsql
    as $$
    declare
        message_id constant uuid := gen_random_uuid();
        message jsonb := payload;
    begin
        if not message ? 'id' then
            -- Raises an error for a payload that is not an object.
            message := jsonb_set(message, '{id}', to_jsonb(message_id));
        end if;

        -- Policies for INSERT can read the topic.
        perform set_config('realtime.topic', topic, true);
        insert into realtime.messages (id, payload, event, topic, private, extension)
        values (message_id, message, event, topic, private, 'broadcast');
    exception when others then
        raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
    end
    $$;

-- The same for bytes, which clients of protocol 2.0.0 receive unchanged.
create function realtime.send_binary(payload bytea, event text, topic text, private boolean default true) returns void
    language plpgsql
    as $$
    begin
        perform set_config('realtime.topic', topic, true);
        insert into realtime.messages (binary_payload, event, topic, private, extension)
        values (payload, event, topic, private, 'broadcast');
    exception when others then
        raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
    end
    $$;

-- Send a row change; to be called by row triggers.
create function realtime.broadcast_changes(
    topic_name text, event_name text, operation text, table_name text, table_schema text,
    new record, old record, level text default 'ROW'
) returns void
    language plpgsql
    as $$
    begin
        if level = 'STATEMENT' then
            raise exception 'function can only be triggered for each row, not for each statement';
        end if;
        perform realtime.send(
            jsonb_build_object(
                'table', table_name, 'schema', table_schema, 'operation', operation,
                'record', to_jsonb(new), 'old_record', to_jsonb(old)
            ),
            event_name, topic_name
        );
    exception when others then
        raise exception 'Failed to process the row: %', sqlerrm;
    end
    $$;

alter table realtime.messages owner to supabase_realtime_admin;
alter function realtime.topic() owner to supabase_realtime_admin;
alter function realtime.send(jsonb, text, text, boolean) owner to supabase_realtime_admin;
alter function realtime.send_binary(bytea, text, text, boolean) owner to supabase_realtime_admin;
alter function realtime.broadcast_changes(text, text, text, text, text, record, record, text)
    owner to supabase_realtime_admin;

grant select, insert, update on realtime.messages to anon, authenticated, service_role;
grant all on realtime.messages to postgres, dashboard_user;
-- Its sessions bypass row level security.
grant insert, delete on realtime.messages to smelt_realtime;

-- The publication from which Realtime reads messages; only inserts, so that purging is not replicated.
create publication supabase_realtime_messages_publication for table realtime.messages with (publish = 'insert');

-- postgres_changes includes generated columns. Before PostgreSQL 18 the WAL does not contain them.
do $$
    begin
        if current_setting('server_version_num')::int >= 180000 then
            alter publication supabase_realtime set (publish_generated_columns = stored);
        end if;
    end
    $$;
