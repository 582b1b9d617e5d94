"""A project's own triggers on auth.users, foreign keys to it, and seeded users."""

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from smelt.local import StackHandle

PASSWORD = "correct horse"


@pytest.fixture
def owner(bare_stack: StackHandle) -> Iterator[psycopg.Connection[Any]]:
    """A session of `postgres`, with a table of profiles that a trigger fills, as in most projects."""
    with psycopg.connect(bare_stack.db_url, autocommit=True) as connection:
        connection.execute(
            """
            create table public.profiles (id uuid primary key references auth.users, email text, nick text not null);
            create function public.welcome() returns trigger language plpgsql security definer set search_path = '' as
            $$ begin
                insert into public.profiles values (new.id, new.email, new.raw_user_meta_data ->> 'nick');
                return new;
            end $$;
            create trigger welcome after insert on auth.users for each row execute function public.welcome();
            """
        )
        yield connection
        connection.execute("drop trigger welcome on auth.users; drop function public.welcome()")
        connection.execute("drop table public.profiles")


async def test_auth_users_trigger_sees_address_and_metadata(
    owner: psycopg.Connection[Any], connect: Any, address: str, bare_stack: StackHandle
) -> None:
    """The trigger gets the email and the app's metadata, however the user is created."""
    data = {"options": {"data": {"nick": "a"}}}
    await (await connect()).auth.sign_up({"email": address, "password": PASSWORD, **data})
    await (await connect()).auth.sign_in_anonymously({"options": {"data": {"nick": "b"}}})
    admin = (await connect(bare_stack.secret_key)).auth.admin
    await admin.create_user({"email": f"x{address}", "user_metadata": {"nick": "c"}})
    profiles = owner.execute("select email, nick from public.profiles order by nick").fetchall()
    assert profiles == [(address, "a"), (None, "b"), (f"x{address}", "c")]


async def test_auth_error_of_a_trigger_or_foreign_key_is_one_sentence(
    owner: psycopg.Connection[Any], http: httpx.AsyncClient, address: str, bare_stack: StackHandle
) -> None:
    """A failing trigger prevents the user, and a foreign key prevents the deletion."""
    key, user = {"apikey": bare_stack.secret_key}, {"email": address, "password": PASSWORD}
    for path in ("/signup", "/admin/users"):
        response = await http.post(f"/auth/v1{path}", json=user, headers=key)
        assert (response.status_code, response.json()["msg"]) == (500, "Database error saving new user")
    known = await http.post("/auth/v1/admin/users", json=user | {"user_metadata": {"nick": "a"}}, headers=key)
    assert known.status_code == 200
    response = await http.delete(f"/auth/v1/admin/users/{known.json()['id']}", headers=key)
    assert (response.status_code, response.json()["msg"]) == (500, "Database error deleting user")
    assert owner.execute("select count(*) from auth.users where email = %s", [address]).fetchone() == (1,)


async def test_sign_in_works_for_a_seeded_user(connect: Any, address: str, bare_stack: StackHandle) -> None:
    """The seed names the columns that seeds and dumps of projects use; the columns for mails are empty."""
    with psycopg.connect(bare_stack.db_url, autocommit=True) as database:
        database.execute("set session_replication_role = replica")
        database.execute(
            """
            insert into auth.users (
                instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, recovery_sent_at,
                last_sign_in_at, raw_app_meta_data, raw_user_meta_data, created_at, updated_at, confirmation_token,
                email_change, email_change_token_new, recovery_token
            ) values (
                '00000000-0000-0000-0000-000000000000', gen_random_uuid(), 'authenticated', 'authenticated', %s,
                '$2a$10$oJtrLhBMzS7HGiWVIHtRxeNE6jNScfvZ3vsZLbFMxPXyjU5qtS5Ee', now(), now(), now(),
                '{"provider": "email", "providers": ["email"]}', '{}', now(), now(), '', '', '', ''
            )
            """,
            [address],
        )
    signed_in = await (await connect()).auth.sign_in_with_password({"email": address, "password": "password"})
    assert signed_in.user.email == address
