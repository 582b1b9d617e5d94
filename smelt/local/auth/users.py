"""Users and sessions as rows, JSON and access token claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from smelt.local.keys import JwtClaims

Json = Mapping[str, Any]

EMAIL_METADATA: Final[Json] = {"provider": "email", "providers": ["email"]}
"""The app metadata of a user with an email."""


def json_time(moment: datetime | None) -> str | None:
    """Return a timestamp in UTC with microseconds and `Z`, or None."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A row of auth.identities: a user's account at a provider."""

    id: UUID
    user_id: UUID
    provider: str
    provider_id: str
    identity_data: Json
    email: str | None
    last_sign_in_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def as_json(self) -> dict[str, object]:
        """Return the identity as in API responses."""
        return {
            "identity_id": str(self.id),
            "id": self.provider_id,
            "user_id": str(self.user_id),
            "identity_data": self.identity_data,
            "provider": self.provider,
            "last_sign_in_at": json_time(self.last_sign_in_at),
            "created_at": json_time(self.created_at),
            "updated_at": json_time(self.updated_at),
            "email": self.email,
        }


@dataclass(frozen=True, kw_only=True)
class User:
    """A row of auth.users."""

    id: UUID
    aud: str
    role: str
    email: str | None
    encrypted_password: str | None
    email_confirmed_at: datetime | None
    phone: str | None
    phone_confirmed_at: datetime | None
    confirmed_at: datetime | None
    last_sign_in_at: datetime | None
    raw_app_meta_data: Json
    raw_user_meta_data: Json
    created_at: datetime
    updated_at: datetime
    banned_until: datetime | None
    is_anonymous: bool

    def is_banned(self, now: datetime) -> bool:
        """Return True if the user is banned now."""
        return self.banned_until is not None and self.banned_until > now

    def as_json(self, identities: list[Identity]) -> dict[str, object]:
        """Return the user as in API responses; times that are None are omitted."""
        times = {
            "email_confirmed_at": self.email_confirmed_at,
            "phone_confirmed_at": self.phone_confirmed_at,
            "confirmed_at": self.confirmed_at,
            "last_sign_in_at": self.last_sign_in_at,
            "banned_until": self.banned_until,
        }
        return {
            "id": str(self.id),
            "aud": self.aud,
            "role": self.role,
            "email": self.email or "",
            "phone": self.phone or "",
            **{name: json_time(moment) for name, moment in times.items() if moment is not None},
            "app_metadata": self.raw_app_meta_data,
            "user_metadata": self.raw_user_meta_data,
            "identities": [identity.as_json() for identity in identities],
            "created_at": json_time(self.created_at),
            "updated_at": json_time(self.updated_at),
            "is_anonymous": self.is_anonymous,
        }


@dataclass(frozen=True, kw_only=True)
class Session:
    """A row of auth.sessions with its sign-in method."""

    id: UUID
    user_id: UUID
    aal: str
    method: str
    signed_in_at: datetime


def merge(metadata: Json, changes: Json) -> dict[str, Any]:
    """Return the metadata with the changes applied; null removes a key."""
    return {name: value for name, value in {**metadata, **changes}.items() if value is not None}


def access_claims(user: User, session: Session, *, issuer: str, issued_at: int, lifetime_s: int) -> JwtClaims:
    """Return the claims of an access token, as the platform's clients and policies expect them."""
    return {
        "iss": issuer,
        "sub": str(user.id),
        "aud": user.aud,
        "exp": issued_at + lifetime_s,
        "iat": issued_at,
        "email": user.email or "",
        "phone": user.phone or "",
        "app_metadata": user.raw_app_meta_data,
        "user_metadata": user.raw_user_meta_data,
        "role": user.role,
        "aal": session.aal,
        "amr": [{"method": session.method, "timestamp": int(session.signed_in_at.timestamp())}],
        "session_id": str(session.id),
        "is_anonymous": user.is_anonymous,
    }
