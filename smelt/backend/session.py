"""The session of a signed-in user, as Auth returns it."""

from uuid import UUID

from smelt.contract.events import Model


class SignInSession(Model):
    """The tokens of a user; `expires_at` of the access token is in seconds since 1970."""

    access_token: str
    refresh_token: str
    expires_at: float
    user_id: UUID
    email: str | None = None
