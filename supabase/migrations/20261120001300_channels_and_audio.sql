-- The policies of Realtime and Storage, and the bucket.

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

-- Return true if the caller may upload an object: an announced file of an unsubmitted smelt that the caller may access.
create function smelt.can_upload(p_path text) returns boolean
    language sql stable security definer
    set search_path = ''
    as $$
        select exists (
            select
            from public.smelt_files as f
            join public.smelts as s on s.id = f.smelt_id
            where f.upload_path = p_path
                and s.submitted_at is null and s.status = 'pending' and s.audio_state = 'expected'
                and smelt.is_owner_or_service(s.user_id)
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

revoke all on function smelt.can_subscribe, smelt.can_upload, smelt.can_read_audio
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
