-- Privileges and row level security. `anon` may read no table: visitors use the functions, with the id of their smelt.

-- A caller: the user, if anonymous limits apply, and if it is a service (a worker, or the operator).
create type smelt.caller as (user_id uuid, is_anonymous boolean, is_service boolean);

-- Return the caller of this request. A service is recognized by the role of the session, not by a claim of the token,
-- and has no user.
create function smelt.current_caller() returns smelt.caller
    language sql stable
    set search_path = ''
    as $$
        select case
            when current_setting('role', true) = 'service_role' then (null, false, true)::smelt.caller
            else (
                auth.uid(),
                auth.uid() is null or coalesce((auth.jwt() ->> 'is_anonymous')::boolean, false),
                false
            )::smelt.caller
        end
    $$;

-- Return true if the caller may access a smelt of this owner. A smelt without an owner is accessible to every caller
-- who knows its id.
create function smelt.is_owner_or_service(p_owner uuid) returns boolean
    language sql stable
    set search_path = ''
    as $$ select p_owner is null or p_owner = (select auth.uid()) or (smelt.current_caller()).is_service $$;

-- Return the hashed network address of the request, to count the open smelts of a visitor. Requests without the header
-- `client_ip_header` of `smelt.limits` share one address. Of several addresses, the proxy has added the last one.
create function smelt.current_client() returns text
    language sql stable
    set search_path = ''
    as $$
        select encode(sha256(convert_to(
            coalesce(trim(split_part(request.headers ->> l.client_ip_header, ',', -1)), 'unknown'), 'UTF8'
        )), 'hex')
        from smelt.limits as l
        cross join (
            select coalesce(nullif(current_setting('request.headers', true), ''), '{}')::jsonb as headers
        ) as request
    $$;

-- The limits of one kind of caller.
create type smelt.allowance as (max_files integer, max_file_bytes bigint, max_duration_s integer, max_open integer);

-- Return the limits of anonymous callers, or of the others.
create function smelt.allowance_for(p_is_anonymous boolean) returns smelt.allowance
    language sql stable
    set search_path = ''
    as $$
        select case
            when p_is_anonymous then (
                l.anonymous_max_files, l.anonymous_max_file_bytes, l.anonymous_max_duration_s, l.anonymous_max_open
            )::smelt.allowance
            else (l.max_files, l.max_file_bytes, l.max_duration_s, l.max_open)::smelt.allowance
        end
        from smelt.limits as l
    $$;

-- Trigger: reject a prompt longer than the operator's limit; set `updated_at`.
create function smelt.check_prompt() returns trigger
    language plpgsql security definer
    set search_path = ''
    as $$
    declare
        v_max constant integer := (select l.max_prompt_chars from smelt.limits as l);
    begin
        if char_length(new.content) > v_max then
            perform smelt.raise_rejection(
                'invalid_request', format('The prompt is longer than %s characters; shorten it.', v_max)
            );
        end if;
        new.updated_at := now();
        return new;
    end
    $$;
create trigger check_prompt before insert or update on public.smelt_prompts
    for each row execute function smelt.check_prompt();

alter table public.smelts enable row level security;
alter table public.smelt_files enable row level security;
alter table public.smelt_segments enable row level security;
alter table public.smelt_results enable row level security;
alter table public.smelt_batches enable row level security;
alter table public.smelt_prompts enable row level security;
alter table public.smelt_notifications enable row level security;

create policy "owners read their smelts" on public.smelts
    for select to authenticated using (user_id = (select auth.uid()));
create policy "owners read their files" on public.smelt_files
    for select to authenticated using (user_id = (select auth.uid()));
create policy "owners read their transcripts" on public.smelt_segments
    for select to authenticated using (
        exists (select from public.smelts as s where s.id = smelt_id and s.user_id = (select auth.uid()))
    );
create policy "owners read their results" on public.smelt_results
    for select to authenticated using (
        exists (select from public.smelts as s where s.id = smelt_id and s.user_id = (select auth.uid()))
    );
create policy "owners read their batches" on public.smelt_batches
    for select to authenticated using (user_id = (select auth.uid()));
create policy "owners read their prompts" on public.smelt_prompts
    for select to authenticated using (user_id = (select auth.uid()));
create policy "owners write prompts" on public.smelt_prompts
    for insert to authenticated with check (user_id = (select auth.uid()));
create policy "owners change their prompts" on public.smelt_prompts
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "owners delete their prompts" on public.smelt_prompts
    for delete to authenticated using (user_id = (select auth.uid()));
create policy "owners read their notifications" on public.smelt_notifications
    for select to authenticated using (user_id = (select auth.uid()));
create policy "owners mark their notifications" on public.smelt_notifications
    for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

revoke all on
    public.smelts, public.smelt_files, public.smelt_segments, public.smelt_results, public.smelt_batches,
    public.smelt_prompts, public.smelt_notifications
    from public, anon, authenticated, service_role;
revoke all on all tables in schema smelt from public, anon, authenticated, service_role;
revoke all on all sequences in schema smelt from public, anon, authenticated, service_role;

grant select on
    public.smelts, public.smelt_files, public.smelt_segments, public.smelt_results, public.smelt_batches,
    public.smelt_prompts, public.smelt_notifications
    to authenticated, service_role;
grant insert (name, content), update (name, content), delete on public.smelt_prompts to authenticated;
grant update (seen_at, read_at) on public.smelt_notifications to authenticated;

-- The functions of `public` call those of `smelt` with the privileges of their caller.
revoke all on schema smelt from public;
grant usage on schema smelt to anon, authenticated, service_role;

revoke all on function
    smelt.current_caller, smelt.is_owner_or_service, smelt.current_client, smelt.allowance_for, smelt.check_prompt
    from public, anon, authenticated, service_role;
