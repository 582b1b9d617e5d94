"""The keys and tokens of the embedded stack: the well-known development keys of the Supabase CLI.

They are public: every installation of the Supabase CLI contains them. They protect only a server that listens on the
loopback interface, and make `smelt local` and `supabase start` interchangeable.
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
"""The claims of a JWT, as Postgres gets them in `request.jwt.claims`."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The JWT secret of a stack and its API keys.

    With `opaque_key_lifetime_s`, an `sb_...` key is replaced by a new token on each use, which expires after that many
    seconds; without, by the long-lived token of its role.
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
        """Return a JWT with exactly these claims."""
        return jwt.encode(dict(claims), self.jwt_secret, algorithm=ALGORITHM)

    def verify(self, token: str, *, check_times: bool = True) -> JwtClaims:
        """Return the claims of a token that this stack signed and that has not expired, unless `check_times` is False.

        Raises `jwt.ExpiredSignatureError`, `jwt.InvalidSignatureError` or another `jwt.InvalidTokenError`. As on the
        platform, the audience is ignored. A token without `exp` is accepted; callers that require `exp` check it.
        """
        return jwt.decode(
            token,
            self.jwt_secret,
            algorithms=[ALGORITHM],
            options={
                "verify_exp": check_times,
                "verify_nbf": check_times,
                "verify_aud": False,
                "verify_iat": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )

    def resolve_api_key(self, key: str) -> JwtClaims:
        """Return the claims of an `apikey`, either `sb_...` or a JWT; raise `jwt.InvalidTokenError` if invalid."""
        return self.verify(self.to_token(key))

    def to_token(self, key: str) -> str:
        """Return the JWT that replaces an `sb_...` key, as in the platform's gateway; return other keys unchanged."""
        if key == self.publishable_key:
            return self._token_for("anon", self.anon_key)
        if key == self.secret_key:
            return self._token_for("service_role", self.service_role_key)
        return key

    def _token_for(self, role: str, long_lived: str) -> str:
        if self.opaque_key_lifetime_s is None:
            return long_lived
        return self.sign({**_api_key_claims(role), "exp": int(time.time()) + self.opaque_key_lifetime_s})


def _api_key_claims(role: str) -> JwtClaims:
    # In the CLI's order, so that the token is identical to the CLI's.
    return {"iss": "supabase-demo", "role": role, "exp": DEMO_EXPIRES_AT}
