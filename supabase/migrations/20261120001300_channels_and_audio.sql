-- The private channels and the audio: what Realtime and Storage ask the database before they let somebody in.

-- Whether the caller may listen on a channel: that of a smelt of its own (or without an owner, whose id it has), that
-- of a batch of its own, that of its own notifications, or that on which it follows the changes of its own rows.
create function smelt.can_subscribe(p_topic text) returns boolean
    language plpgsql stable security definer
    set search_path = ''
    as $$
    declare
        v_kind constant text := split_part(p_topic, ':', 1);
        v_id uuid;
    begin
        if p_topic !~ '^[a-z-]+:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
            return false;
        end if;
        v_id := split_part(p_topic, ':', 2)::uuid;
        return case v_kind
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

-- Whether the caller may upload this object: an announced file of a smelt of its own that is not submitted yet.
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

-- Whether the caller owns the smelt that an object belongs to.
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
grant execute on function smelt.can_subscribe, smelt.can_upload, smelt.can_read_audio to anon, authenticated, service_role;

-- Nobody but the service may send: without a policy for INSERT, progress can't be faked.
create policy "smelt: listen on one's own channels" on realtime.messages
    for select to anon, authenticated
    using (extension = 'broadcast' and (select smelt.can_subscribe((select realtime.topic()))));

insert into storage.buckets (id, name, public, file_size_limit)
values ('smelt-audio', 'smelt-audio', false, 524288000)
on conflict (id) do update set public = false, file_size_limit = excluded.file_size_limit;

-- Without a policy for UPDATE nothing is overwritten, without one for DELETE nothing vanishes under a worker.
create policy "smelt: upload announced files" on storage.objects
    for insert to anon, authenticated
    with check (bucket_id = 'smelt-audio' and smelt.can_upload(name));
create policy "smelt: owners read their audio" on storage.objects
    for select to authenticated
    using (bucket_id = 'smelt-audio' and smelt.can_read_audio(name));
