"""Keys and tokens of the embedded stack: the Supabase CLI's well-known development ones.

Whoever holds a Supabase CLI holds these keys too. They guard nothing but a server that listens on the loopback
interface, and being the same ones they let `smelt local` and `supabase start` stand in for each other.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

ALGORITHM: Final = "HS256"
DEMO_JWT_SECRET: Final = "super-secret-jwt-token-with-at-least-32-characters-long"
DEMO_PUBLISHABLE_KEY: Final = "sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH"
DEMO_SECRET_KEY: Final = "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz"
DEMO_EXPIRES_AT: Final = 1983812996

JwtClaims = dict[str, Any]
"""The body of a JWT, as it goes to Postgres in `request.jwt.claims`."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The JWT secret of a stack and the API keys that go with it.

    With `opaque_key_lifetime_s`, an `sb_...` key is replaced by a new token each time, which expires after that many
    seconds; without, by the token of its role that expires in years.
    """

    jwt_secret: str = DEMO_JWT_SECRET
    opaque_key_lifetime_s: int | None = None
    publishable_key: str = DEMO_PUBLISHABLE_KEY
    secret_key: str = DEMO_SECRET_KEY
    anon_key: str = field(init=False)
    service_role_key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "anon_key", self.sign(_api_key_claims("anon")))
        object.__setattr__(self, "service_role_key", self.sign(_api_key_claims("service_role")))

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Answer a JWT with exactly these claims."""
        return jwt.encode(dict(claims), self.jwt_secret, algorithm=ALGORITHM)

    def verify(self, token: str) -> JwtClaims:
        """Answer the claims of a token that this stack signed and that has not expired.

        Raises `jwt.ExpiredSignatureError`, `jwt.InvalidSignatureError` or another `jwt.InvalidTokenError`. The audience
        is not looked at, as nowhere on the platform, and a token without `exp` is accepted: who needs one checks.
        """
        return jwt.decode(
            token,
            self.jwt_secret,
            algorithms=[ALGORITHM],
            options={"verify_aud": False, "verify_iat": False, "verify_sub": False, "verify_jti": False},
        )

    def resolve_api_key(self, key: str) -> JwtClaims:
        """Answer the claims that an `apikey` stands for, be it `sb_...` or a JWT; raise `jwt.InvalidTokenError`."""
        return self.verify(self.to_token(key))

    def to_token(self, key: str) -> str:
        """Return the JWT that stands behind an `sb_...` key, as the platform's gateway does; any other key as it is."""
        if key == self.publishable_key:
            return self._token_of("anon", self.anon_key)
        if key == self.secret_key:
            return self._token_of("service_role", self.service_role_key)
        return key

    def _token_of(self, role: str, lasting: str) -> str:
        if self.opaque_key_lifetime_s is None:
            return lasting
        return self.sign({**_api_key_claims(role), "exp": int(time.time()) + self.opaque_key_lifetime_s})


def _api_key_claims(role: str) -> JwtClaims:
    # The order of the keys is the CLI's, so that the token is the CLI's to the letter.
    return {"iss": "supabase-demo", "role": role, "exp": DEMO_EXPIRES_AT}
