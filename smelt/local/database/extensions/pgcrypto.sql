-- What the embedded stack has of pgcrypto, on the functions of Postgres itself: random values, and digests but SHA-1.
-- The other functions exist and raise an error.

create function @extschema@.gen_random_uuid() returns uuid
    language sql volatile parallel safe set search_path = ''
    as $$ select gen_random_uuid() $$;

-- Each block of 32 bytes is the hash of 366 random bits.
create function @extschema@.gen_random_bytes(count integer) returns bytea
    language plpgsql volatile strict parallel safe set search_path = ''
    as $$
    begin
        if count not between 1 and 1024 then
            raise exception 'Length not in range' using errcode = '39000';
        end if;
        return (
            select substring(
                string_agg(
                    sha256(
                        uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                    ),
                    ''::bytea
                )
                from 1 for count
            )
            from generate_series(1, (count + 31) / 32)
        );
    end
    $$;

create function @extschema@.digest(data bytea, type text) returns bytea
    language plpgsql immutable strict parallel safe set search_path = ''
    as $$
    begin
        case lower(type)
            when 'md5' then return decode(md5(data), 'hex');
            when 'sha224' then return sha224(data);
            when 'sha256' then return sha256(data);
            when 'sha384' then return sha384(data);
            when 'sha512' then return sha512(data);
            else raise exception 'digest type "%" is not part of the embedded stack', type using errcode = '0A000';
        end case;
    end
    $$;

create function @extschema@.digest(data text, type text) returns bytea
    language sql immutable strict parallel safe
    as $$ select @extschema@.digest(pg_catalog.convert_to(data, 'UTF8'), type) $$;

do $create$
    declare
        declared record;
    begin
        for declared in
            select * from (values
                ('crypt(password text, salt text) returns text'),
                ('gen_salt(type text) returns text'),
                ('gen_salt(type text, rounds integer) returns text'),
                ('hmac(data bytea, key bytea, type text) returns bytea'),
                ('hmac(data text, key text, type text) returns bytea'),
                ('encrypt(data bytea, key bytea, type text) returns bytea'),
                ('decrypt(data bytea, key bytea, type text) returns bytea'),
                ('pgp_sym_encrypt(data text, password text) returns bytea'),
                ('pgp_sym_decrypt(data bytea, password text) returns text')
            ) as listed (signature)
        loop
            execute pg_catalog.format(
                $format$
                    create function @extschema@.%1$s language plpgsql
                    as $$ begin raise exception '%2$s of pgcrypto is not part of the embedded stack'
                        using errcode = '0A000', hint = 'Use `supabase start` for it.'; end $$
                $format$,
                declared.signature, pg_catalog.split_part(declared.signature, '(', 1)
            );
        end loop;
    end
    $create$;
