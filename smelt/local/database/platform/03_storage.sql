-- Buckets and objects. The rows decide which objects exist; the Storage API keeps their contents.

-- `supabase db reset` keeps only the schemas that the superuser owns.
create schema storage authorization supabase_admin;
grant all on schema storage to supabase_storage_admin;
grant usage on schema storage to postgres with grant option;
grant usage on schema storage to anon, authenticated, service_role, dashboard_user;

create type storage.buckettype as enum ('STANDARD', 'ANALYTICS', 'VECTOR');

create table storage.buckets (
    id text primary key,
    name text not null,
    owner uuid,
    owner_id text,
    public boolean default false,
    avif_autodetection boolean default false,
    file_size_limit bigint,
    allowed_mime_types text[],
    type storage.buckettype not null default 'STANDARD',
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    constraint bname unique (name)
);

create table storage.objects (
    id uuid primary key default gen_random_uuid(),
    bucket_id text constraint "objects_bucketId_fkey" references storage.buckets (id),
    name text,
    owner uuid,
    owner_id text,
    version text,
    metadata jsonb,
    user_metadata jsonb,
    path_tokens text[] generated always as (string_to_array(name, '/')) stored,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    last_accessed_at timestamptz default now()
);
create unique index bucketid_objname on storage.objects (bucket_id, name);
create index idx_objects_bucket_id_name on storage.objects (bucket_id, name collate "C");
create index idx_objects_bucket_id_name_lower on storage.objects (bucket_id, lower(name) collate "C");

alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;

-- The folders of an object's name, outermost first: {a,b} for `a/b/c.txt`.
create function storage.foldername(name text) returns text[]
    language sql immutable
    as $$ select (string_to_array(name, '/'))[1:cardinality(string_to_array(name, '/')) - 1] $$;

-- The last part of an object's name: `c.txt` for `a/b/c.txt`.
create function storage.filename(name text) returns text
    language sql immutable
    as $$ select split_part(name, '/', -1) $$;

-- The part after the last dot of the file name: `gz` for `a/b.c/d.tar.gz`.
create function storage.extension(name text) returns text
    language sql immutable
    as $$ select split_part(split_part(name, '/', -1), '.', -1) $$;

-- The current operation of the Storage API, for policies that distinguish operations.
create function storage.operation() returns text
    language sql stable
    as $$ select current_setting('storage.operation', true) $$;

create function storage.update_updated_at_column() returns trigger
    language plpgsql
    as $$
    begin
        new.updated_at := now();
        return new;
    end
    $$;

-- SQL would remove rows, but not contents: only the Storage API may delete, which sets `storage.allow_delete_query`.
create function storage.protect_delete() returns trigger
    language plpgsql
    as $$
    begin
        if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
            raise exception 'Direct deletion from storage tables is not allowed. Use the Storage API instead.'
                using errcode = '42501', hint = 'This prevents accidental data loss from orphaned objects.';
        end if;
        return null;
    end
    $$;

create trigger update_objects_updated_at before update on storage.objects
    for each row execute function storage.update_updated_at_column();
create trigger protect_objects_delete before delete on storage.objects
    for each statement execute function storage.protect_delete();
create trigger protect_buckets_delete before delete on storage.buckets
    for each statement execute function storage.protect_delete();

alter type storage.buckettype owner to supabase_storage_admin;
alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter function storage.foldername(text) owner to supabase_storage_admin;
alter function storage.filename(text) owner to supabase_storage_admin;
alter function storage.extension(text) owner to supabase_storage_admin;
alter function storage.operation() owner to supabase_storage_admin;
alter function storage.update_updated_at_column() owner to supabase_storage_admin;
alter function storage.protect_delete() owner to supabase_storage_admin;

grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
grant all on storage.buckets, storage.objects to postgres with grant option;
