-- The users, buckets and policies for the recordings from 02 on.

insert into auth.users (id, email)
values ('11111111-1111-4111-8111-111111111111', 'alice@example.com'),
       ('22222222-2222-4222-8222-222222222222', 'bob@example.com');

insert into storage.buckets (id, name, public, created_at)
select id, id, id = 'pub', clock_timestamp()
from unnest(array[
    'recordings', 'ins-only', 'ins-sel', 'readonly', 'mdcheck', 'paging', 'private-nopolicy', 'pub'
]) as id;

-- A folder for each user, with everything in it allowed.
create policy rec_ins on storage.objects for insert to authenticated
    with check (bucket_id = 'recordings' and (storage.foldername(name))[1] = (select auth.uid()::text));
create policy rec_sel on storage.objects for select to authenticated
    using (bucket_id = 'recordings' and (storage.foldername(name))[1] = (select auth.uid()::text));
create policy rec_upd on storage.objects for update to authenticated
    using (bucket_id = 'recordings' and (storage.foldername(name))[1] = (select auth.uid()::text));
create policy rec_del on storage.objects for delete to authenticated
    using (bucket_id = 'recordings' and (storage.foldername(name))[1] = (select auth.uid()::text));

create policy io_ins on storage.objects for insert to authenticated with check (bucket_id = 'ins-only');
create policy is_ins on storage.objects for insert to authenticated with check (bucket_id = 'ins-sel');
create policy is_sel on storage.objects for select to authenticated using (bucket_id = 'ins-sel');
create policy ro_sel on storage.objects for select to authenticated using (bucket_id = 'readonly');
create policy lim_all on storage.objects to authenticated
    using (bucket_id = 'limits') with check (bucket_id = 'limits');
create policy pg_all on storage.objects to authenticated
    using (bucket_id = 'paging') with check (bucket_id = 'paging');

-- A policy on the metadata that is known before the upload.
create policy md_ins on storage.objects for insert to authenticated
    with check (bucket_id = 'mdcheck' and owner_id = (select auth.uid()::text)
        and (metadata ->> 'mimetype') = 'audio/webm' and (metadata ->> 'contentLength')::int < 100);
create policy md_sel on storage.objects for select to authenticated
    using (bucket_id = 'mdcheck' and owner_id = (select auth.uid()::text));
