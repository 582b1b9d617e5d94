"""Access to the tables of the schema `auth`."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Final, LiteralString, TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from starlette.responses import JSONResponse, Response

from smelt.local.auth import errors
from smelt.local.auth.users import Identity, Session, User

Row = TypeVar("Row")

_COLUMNS: Final = """
    id, coalesce(aud, 'authenticated') as aud, coalesce(role, 'authenticated') as role, email, encrypted_password,
    email_confirmed_at, phone, phone_confirmed_at, confirmed_at, last_sign_in_at,
    coalesce(raw_app_meta_data, '{}') as raw_app_meta_data, coalesce(raw_user_meta_data, '{}') as raw_user_meta_data,
    created_at, updated_at, banned_until, is_anonymous
"""
_SELECT: Final = f"select {_COLUMNS} from auth.users where deleted_at is null"
_WITH_TOKEN: Final = sql.SQL(
    " and {token} = %(token_hash)s and {sent_at} > now() - %(lifetime)s and not is_sso_user for update"
)
_INSERT: Final = sql.SQL("insert into auth.users ({}) values ({})")
_RETURNING: Final = sql.SQL(f" returning {_COLUMNS}")
_FIXED: Final = {
    "instance_id": "00000000-0000-0000-0000-000000000000",
    "aud": "authenticated",
    "role": "authenticated",
}
_CONFIRMATIONS: Final = ("email_confirmed_at", "phone_confirmed_at")
_UPDATED: Final = f", updated_at = now() where id = %(id)s returning {_COLUMNS}"
_PAGE: Final = f"{_SELECT} order by created_at desc, id limit %(limit)s offset %(offset)s"

_UPSERT_IDENTITY: Final = """
    insert into auth.identities (user_id, provider, provider_id, identity_data, last_sign_in_at)
    values (%(user_id)s, 'email', %(user_id)s::text, %(data)s, now())
    on conflict (provider_id, provider) do update set identity_data = excluded.identity_data, updated_at = now()
"""
_IDENTITIES: Final = """
    select id, user_id, provider, provider_id, identity_data, email, last_sign_in_at, created_at, updated_at
    from auth.identities where user_id = any(%(user_ids)s) order by created_at
"""
_INSERT_SESSION: Final = "insert into auth.sessions (id, user_id, user_agent) values (%(id)s, %(user_id)s, %(agent)s)"
_INSERT_METHOD: Final = """
    insert into auth.mfa_amr_claims (id, session_id, authentication_method, created_at, updated_at)
    values (gen_random_uuid(), %(id)s, %(method)s, now(), now())
"""
_SESSION: Final = """
    select s.id, s.user_id, s.aal, coalesce(a.authentication_method, 'password') as method,
           coalesce(a.updated_at, s.created_at) as signed_in_at
    from auth.sessions as s left join auth.mfa_amr_claims as a on a.session_id = s.id
    where s.id = %(id)s and (s.not_after is null or s.not_after > now())
"""


class AuthTransaction:
    """A transaction on the schema `auth`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def execute(self, query: LiteralString, **values: object) -> int:
        """Run a statement and return the number of affected rows."""
        cursor = await self._connection.execute(query, values)
        return cursor.rowcount

    async def run(self, query: sql.Composed) -> None:
        """Run a composed statement."""
        await self._connection.execute(query)

    async def value(self, query: sql.Composed, parameter: object) -> object:
        """Return the first column of the first row of a query, or None."""
        row = await (await self._connection.execute(query, (parameter,))).fetchone()
        return None if row is None else row[0]

    async def many(self, kind: type[Row], query: LiteralString | sql.Composed, **values: object) -> list[Row]:
        """Return all rows of a query."""
        async with self._connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()

    async def one(self, kind: type[Row], query: LiteralString | sql.Composed, **values: object) -> Row | None:
        """Return the first row of a query, or None."""
        rows = await self.many(kind, query, **values)
        return rows[0] if rows else None

    async def user(self, user_id: UUID) -> User | None:
        """Return a user by id."""
        return await self.one(User, f"{_SELECT} and id = %(id)s", id=user_id)

    async def user_by_email(self, email: str) -> User | None:
        """Return a user by email."""
        return await self.one(User, f"{_SELECT} and email = %(email)s and not is_sso_user", email=email)

    async def user_by_token(self, kind: str, token_hash: str, lifetime: timedelta) -> User | None:
        """Return the user of a `confirmation` or `recovery` token that has not expired, locked until the commit."""
        has_token = _WITH_TOKEN.format(token=sql.Identifier(f"{kind}_token"), sent_at=sql.Identifier(f"{kind}_sent_at"))
        query = sql.SQL(_SELECT) + has_token
        return await self.one(User, query, token_hash=token_hash, lifetime=lifetime) if token_hash else None

    async def users(self, *, limit: int, offset: int) -> list[User]:
        """Return a page of users, newest first."""
        return await self.many(User, _PAGE, limit=limit, offset=offset)

    async def count_users(self) -> int:
        """Return the number of users."""
        cursor = await self._connection.execute("select count(*) from auth.users where deleted_at is null")
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])

    async def insert_user(self, user_id: UUID | None, **values: object) -> User:
        """Create a user with these columns; a user with an email gets an identity.

        As on the platform, insert triggers on auth.users see all columns but the confirmations, which an update sets.
        """
        later = {name: values.pop(name) for name in _CONFIRMATIONS if name in values}
        row = _adapt({"id": user_id or uuid4(), **_FIXED, **values})
        insert = _INSERT.format(
            sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
        )
        with _mapped_errors("saving new user"):
            user = await self.one(User, insert + _RETURNING, **row)
        assert user is not None
        if user.email:
            await self._write_identity(user)
        return await self.update_user(user.id, **later) if later else user

    async def update_user(self, user_id: UUID, **values: object) -> User:
        """Set columns of a user and return the row; mappings become JSON."""
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
        )
        update = sql.SQL("update auth.users set ") + assignments + sql.SQL(_UPDATED)
        user = await self.one(User, update, id=user_id, **_adapt(values))
        if user is None:
            raise errors.user_not_found()
        if "email" in values and user.email:
            await self._write_identity(user)
        return user

    async def delete_user(self, user_id: UUID) -> bool:
        """Remove a user with all sessions; return False if there is none."""
        with _mapped_errors("deleting user"):
            return bool(await self.execute("delete from auth.users where id = %(id)s", id=user_id))

    async def identities(self, users: list[User]) -> dict[UUID, list[Identity]]:
        """Return the identities of users by user id."""
        found: dict[UUID, list[Identity]] = {user.id: [] for user in users}
        for identity in await self.many(Identity, _IDENTITIES, user_ids=list(found)):
            found[identity.user_id].append(identity)
        return found

    async def insert_session(self, user: User, method: str, agent: str | None) -> Session:
        """Open a session with this sign-in method."""
        session_id = uuid4()
        await self.execute(_INSERT_SESSION, id=session_id, user_id=user.id, agent=agent)
        await self.execute(_INSERT_METHOD, id=session_id, method=method)
        session = await self.session(session_id)
        assert session is not None
        return session

    async def session(self, session_id: UUID) -> Session | None:
        """Return a session that has not ended."""
        return await self.one(Session, _SESSION, id=session_id)

    async def _write_identity(self, user: User) -> None:
        data = {"sub": str(user.id), "email": user.email, "email_verified": False, "phone_verified": False}
        await self.execute(_UPSERT_IDENTITY, user_id=user.id, data=Jsonb(data))


async def show_user(transaction: AuthTransaction, user: User) -> Response:
    """Return a response with the user as JSON."""
    identities = await transaction.identities([user])
    return JSONResponse(user.as_json(identities[user.id]))


def _adapt(values: Mapping[str, object]) -> dict[str, object]:
    return {name: Jsonb(value) if isinstance(value, Mapping) else value for name, value in values.items()}


@contextmanager
def _mapped_errors(action: str) -> Iterator[None]:
    """Map errors of the project's own triggers and foreign keys to the platform's database error."""
    try:
        yield
    except psycopg.Error as exc:
        if exc.diag.context is None and not isinstance(exc, psycopg.errors.ForeignKeyViolation):
            raise
        raise errors.database_error(action) from exc


class AuthStore:
    """Opens transactions on the schema `auth`."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AuthTransaction]:
        """Open a transaction, which commits unless the block raises; a duplicate email raises `AuthError`."""
        try:
            async with self._pool.connection() as connection:
                yield AuthTransaction(connection)
        except psycopg.errors.UniqueViolation as exc:
            raise errors.email_exists() from exc
        except psycopg.DataError as exc:
            # Text that Postgres cannot store, such as a null byte.
            raise errors.validation_failed("Invalid text") from exc
