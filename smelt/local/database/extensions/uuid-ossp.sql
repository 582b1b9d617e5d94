-- What the embedded stack has of uuid-ossp: random UUIDs, those of names with MD5, and the constants. The other
-- functions exist and raise an error.

create function @extschema@.uuid_generate_v4() returns uuid
    language sql volatile strict parallel safe
    as $$ select pg_catalog.gen_random_uuid() $$;

-- A version 3 UUID is the MD5 of the namespace and the name, with the bits of the version and the variant set.
create function @extschema@.uuid_generate_v3(namespace uuid, name text) returns uuid
    language sql immutable strict parallel safe set search_path = ''
    as $$
        select encode(
            set_byte(
                set_byte(hash, 6, get_byte(hash, 6) & 15 | 48),
                8, get_byte(hash, 8) & 63 | 128
            ),
            'hex'
        )::uuid
        from (select decode(md5(uuid_send(namespace) || convert_to(name, 'UTF8')), 'hex') as hash) as hashed
    $$;

create function @extschema@.uuid_nil() returns uuid
    language sql immutable strict parallel safe
    as $$ select '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid $$;

create function @extschema@.uuid_ns_dns() returns uuid
    language sql immutable strict parallel safe
    as $$ select '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

create function @extschema@.uuid_ns_url() returns uuid
    language sql immutable strict parallel safe
    as $$ select '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

create function @extschema@.uuid_ns_oid() returns uuid
    language sql immutable strict parallel safe
    as $$ select '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

create function @extschema@.uuid_ns_x500() returns uuid
    language sql immutable strict parallel safe
    as $$ select '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

do $create$
    declare
        declared record;
    begin
        for declared in
            select * from (values
                ('uuid_generate_v1()'), ('uuid_generate_v1mc()'), ('uuid_generate_v5(namespace uuid, name text)')
            ) as listed (signature)
        loop
            execute pg_catalog.format(
                $format$
                    create function @extschema@.%1$s returns uuid language plpgsql
                    as $$ begin raise exception '%2$s of uuid-ossp is not part of the embedded stack'
                        using errcode = '0A000', hint = 'Use `supabase start` for it.'; end $$
                $format$,
                declared.signature, pg_catalog.split_part(declared.signature, '(', 1)
            );
        end loop;
    end
    $create$;
