"""Sessions with access tokens and single-use refresh tokens.

A client that presents a used refresh token may have missed the response to its refresh: it gets the successor again.
Within the reuse interval of the project, reuse is also allowed, for tabs that refresh at the same time. Any other reuse
indicates a stolen token and revokes all tokens of the session.
"""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from smelt.local.auth.errors import AuthError
from smelt.local.auth.store import AuthTransaction
from smelt.local.auth.token_hook import customize
from smelt.local.auth.users import Session, User, access_claims
from smelt.local.keys import Keys
from smelt.local.project import AuthRules

_INSERT_TOKEN: Final = """
    insert into auth.refresh_tokens (instance_id, token, user_id, session_id, parent)
    values ('00000000-0000-0000-0000-000000000000', %(token)s, %(user_id)s, %(session_id)s, %(parent)s)
"""
_TOKEN_COLUMNS: Final = "id, token, session_id, coalesce(parent, '') as parent, revoked, updated_at"
_FIND_TOKEN: Final = f"select {_TOKEN_COLUMNS} from auth.refresh_tokens where token = %(token)s"
_LOCK_SESSION: Final = "select from auth.sessions where id = %(id)s for update"
_ACTIVE_TOKEN: Final = f"""
    select {_TOKEN_COLUMNS} from auth.refresh_tokens
    where session_id = %(session_id)s and not revoked order by id desc limit 1
"""
_REVOKE: Final = "update auth.refresh_tokens set revoked = true, updated_at = now() where id = %(id)s"
_REVOKE_FAMILY: Final = """
    update auth.refresh_tokens set revoked = true, updated_at = now() where session_id = %(id)s and not revoked
"""
_TOUCH: Final = """
    update auth.sessions set refreshed_at = now() at time zone 'utc', updated_at = now() where id = %(id)s
"""
_END: Final = {
    "global": "delete from auth.sessions where user_id = %(user_id)s",
    "local": "delete from auth.sessions where id = %(id)s and user_id = %(user_id)s",
    "others": "delete from auth.sessions where id <> %(id)s and user_id = %(user_id)s",
}

Scope = Literal["global", "local", "others"]


@dataclass(frozen=True, kw_only=True)
class RefreshToken:
    """A row of auth.refresh_tokens."""

    id: int
    token: str
    session_id: UUID
    parent: str
    revoked: bool
    updated_at: datetime


@dataclass(frozen=True)
class Sessions:
    """Issues, refreshes and revokes tokens."""

    keys: Keys
    issuer: str
    rules: AuthRules

    async def open(self, transaction: AuthTransaction, user: User, method: str, agent: str | None) -> dict[str, object]:
        """Sign a user in; return the response with the tokens."""
        now = datetime.now(UTC)
        user = await transaction.update_user(user.id, last_sign_in_at=now)
        session = await transaction.insert_session(user, method, agent)
        return await self._token_response(transaction, user, session, await _add_token(transaction, session, None))

    async def refresh(self, transaction: AuthTransaction, token: str) -> dict[str, object] | AuthError:
        """Exchange a refresh token; return the response with new tokens, or the error.

        The error is returned, not raised, so that the revocation commits.
        """
        presented = await transaction.one(RefreshToken, _FIND_TOKEN, token=token)
        if presented is None:
            return _not_found()
        # Serialize refreshes of a session: the second one must see the changes of the first.
        await transaction.execute(_LOCK_SESSION, id=presented.session_id)
        presented = await transaction.one(RefreshToken, _FIND_TOKEN, token=token)
        session = None if presented is None else await transaction.session(presented.session_id)
        user = None if session is None else await transaction.user(session.user_id)
        if presented is None or session is None or user is None:
            return _not_found()
        if user.is_banned(datetime.now(UTC)):
            return AuthError(400, "user_banned", "Invalid Refresh Token: User Banned")
        reuse_interval = timedelta(seconds=self.rules.token_reuse_interval_s)
        successor = await _rotate(transaction, session, presented, reuse_interval)
        if successor is None:
            await transaction.execute(_REVOKE_FAMILY, id=session.id)
            return AuthError(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
        await transaction.execute(_TOUCH, id=session.id)
        return await self._token_response(transaction, user, session, successor)

    async def end(self, transaction: AuthTransaction, session: Session, scope: Scope) -> None:
        """End this session, the user's other sessions, or all."""
        await transaction.execute(_END[scope], id=session.id, user_id=session.user_id)

    async def _token_response(
        self, transaction: AuthTransaction, user: User, session: Session, refresh_token: str
    ) -> dict[str, object]:
        issued_at, lifetime_s = int(time.time()), self.rules.token_lifetime_s
        claims = access_claims(user, session, issuer=self.issuer, issued_at=issued_at, lifetime_s=lifetime_s)
        if self.rules.token_hook is not None:
            claims = await customize(transaction, self.rules.token_hook, claims, session.method)
        identities = await transaction.identities([user])
        return {
            "access_token": self.keys.sign(claims),
            "token_type": "bearer",
            "expires_in": lifetime_s,
            "expires_at": issued_at + lifetime_s,
            "refresh_token": refresh_token,
            "user": user.as_json(identities[user.id]),
        }


async def _rotate(
    transaction: AuthTransaction, session: Session, presented: RefreshToken, reuse_interval: timedelta
) -> str | None:
    """Return the successor of the presented token; None if it was used too long ago."""
    if presented.revoked:
        active = await transaction.one(RefreshToken, _ACTIVE_TOKEN, session_id=session.id)
        if active is not None and active.parent == presented.token:
            return active.token
        # Without an active token the session is revoked, and reuse is not allowed.
        if active is None or datetime.now(UTC) > presented.updated_at + reuse_interval:
            return None
    else:
        await transaction.execute(_REVOKE, id=presented.id)
    return await _add_token(transaction, session, presented.token)


async def _add_token(transaction: AuthTransaction, session: Session, parent: str | None) -> str:
    token = secrets.token_urlsafe(16)
    await transaction.execute(
        _INSERT_TOKEN, token=token, user_id=str(session.user_id), session_id=session.id, parent=parent
    )
    return token


def _not_found() -> AuthError:
    return AuthError(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
