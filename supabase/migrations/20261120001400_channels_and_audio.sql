-- The policies of Realtime and Storage, the bucket, and the sizes of its objects.

-- Return true if the caller may listen on a channel: that of a smelt or batch of its own, of a smelt without an owner,
-- or its own channel of notifications or of the feed.
create function smelt.can_subscribe(p_topic text) returns boolean
    language plpgsql stable security definer
    set search_path = ''
    as $$
    declare
        v_prefix constant text := split_part(p_topic, ':', 1);
        v_id uuid;
    begin
        if p_topic !~ '^[a-z-]+:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
            return false;
        end if;
        v_id := split_part(p_topic, ':', 2)::uuid;
        return case v_prefix
            when 'smelt' then exists (
                select from public.smelts as s where s.id = v_id and (s.user_id is null or s.user_id = auth.uid())
            )
            when 'smelt-batch' then exists (
                select from public.smelt_batches as b where b.id = v_id and b.user_id = auth.uid()
            )
            when 'smelt-notifications' then coalesce(v_id = auth.uid(), false)
            when 'smelt-feed' then coalesce(v_id = auth.uid(), false)
            else false
        end;
    end
    $$;

-- Return true if a smelt accepts uploads: it is not submitted, has not ended, and its audio has not expired.
create function smelt.accepts_uploads(p_smelt public.smelts) returns boolean
    language sql immutable
    set search_path = ''
    as $$
        select p_smelt.submitted_at is null and p_smelt.status = 'pending' and p_smelt.audio_state = 'expected'
    $$;

-- Return true if the caller may upload an object: an announced file of an unsubmitted smelt that the caller may access.
create function smelt.can_upload(p_path text) returns boolean
    language sql stable security definer
    set search_path = ''
    as $$
        select exists (
            select
            from public.smelt_files as f
            join public.smelts as s on s.id = f.smelt_id
            where f.upload_path = p_path and smelt.accepts_uploads(s) and smelt.is_owner_or_service(s.user_id)
        )
    $$;

-- Return true if the caller owns the smelt that an object belongs to.
create function smelt.can_read_audio(p_path text) returns boolean
    language sql stable security definer
    set search_path = ''
    as $$
        select exists (
            select from public.smelt_files as f where f.upload_path = p_path and f.user_id = (select auth.uid())
        )
    $$;

-- Return the size of an object in bytes; before an upload, the least that is known of it, or null. The length of a
-- request includes the other parts of a form, which have at most 64 KiB.
create function smelt.object_bytes(p_metadata jsonb) returns bigint
    language sql immutable
    set search_path = ''
    as $$
        select coalesce(
            (p_metadata ->> 'size')::bigint, greatest((p_metadata ->> 'contentLength')::bigint - 65536, 0)
        )
    $$;

-- Trigger: reject an object that was not announced, that is larger than announced, or that comes too late, from every
-- role. Policies cannot: Storage writes the final row as the service role, and only then is the size certain.
create function smelt.check_object() returns trigger
    language plpgsql security definer
    set search_path = ''
    as $$
    declare
        v_bytes constant bigint := smelt.object_bytes(new.metadata);
        v_announced_bytes bigint;
    begin
        -- Other columns may change at any time; another version is another upload.
        if tg_op = 'UPDATE' and (new.bucket_id, new.name) = (old.bucket_id, old.name)
            and new.version is not distinct from old.version
            and coalesce(v_bytes <= coalesce(smelt.object_bytes(old.metadata), 0), true)
        then
            return null;
        end if;
        -- The lock keeps the smelt from being submitted or deleted until the object is visible.
        select f.size_bytes into v_announced_bytes
        from public.smelt_files as f
        join public.smelts as s on s.id = f.smelt_id
        where f.upload_path = new.name and smelt.accepts_uploads(s)
        for share of s;
        if v_announced_bytes is null or v_bytes > v_announced_bytes then
            raise exception 'The object was not announced in this size, or its smelt accepts no more uploads.'
                using errcode = '42501';
        end if;
        return null;
    end
    $$;

revoke all on function
    smelt.can_subscribe, smelt.accepts_uploads, smelt.can_upload, smelt.can_read_audio, smelt.object_bytes,
    smelt.check_object
    from public, anon, authenticated, service_role;
grant execute on function smelt.can_subscribe, smelt.can_upload, smelt.can_read_audio
    to anon, authenticated, service_role;

-- Without a policy for INSERT no client can send: progress cannot be faked.
create policy "smelt: listen on one's own channels" on realtime.messages
    for select to anon, authenticated
    using (extension = 'broadcast' and (select smelt.can_subscribe((select realtime.topic()))));

insert into storage.buckets (id, name, public, file_size_limit)
values ('smelt-audio', 'smelt-audio', false, 524288000)
on conflict (id) do update set public = false, file_size_limit = excluded.file_size_limit;

-- Without policies for UPDATE and DELETE no client can replace or remove audio that a worker reads.
create policy "smelt: upload announced files" on storage.objects
    for insert to anon, authenticated
    with check (bucket_id = 'smelt-audio' and smelt.can_upload(name));
create policy "smelt: owners read their audio" on storage.objects
    for select to authenticated
    using (bucket_id = 'smelt-audio' and smelt.can_read_audio(name));
create trigger smelt_check_object after insert or update on storage.objects
    for each row when (new.bucket_id = 'smelt-audio') execute function smelt.check_object();
