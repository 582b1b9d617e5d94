"""One-time tokens that the platform sends by mail; the embedded stack writes the mails to its log.

As on the platform, the database has only the hash of an address and its one-time password. A link contains the hash.
"""

import hashlib
import logging
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request

from smelt.local.auth import errors
from smelt.local.auth.errors import AuthError
from smelt.local.auth.store import AuthTransaction
from smelt.local.auth.users import User
from smelt.local.project import AuthRules

logger = logging.getLogger(__name__)

LinkKind = Literal["signup", "invite", "magiclink", "recovery"]
LINK_KINDS: Final[tuple[LinkKind, ...]] = get_args(LinkKind)

_COLUMN: Final[dict[str, str]] = {
    "signup": "confirmation",
    "invite": "confirmation",
    "magiclink": "recovery",
    "recovery": "recovery",
}


@dataclass(frozen=True, kw_only=True)
class MailedLink:
    """A one-time token; `otp` is the password that a user could type, `token_hash` the one in the link."""

    kind: LinkKind
    otp: str
    token_hash: str
    url: str
    redirect_to: str

    def as_json(self) -> dict[str, str]:
        """Return the fields of `POST /admin/generate_link`."""
        return {
            "action_link": self.url,
            "email_otp": self.otp,
            "hashed_token": self.token_hash,
            "verification_type": self.kind,
            "redirect_to": self.redirect_to,
        }


@dataclass(frozen=True)
class MailedLinks:
    """Issues and redeems one-time tokens; `issuer` is the URL of Auth."""

    issuer: str
    rules: AuthRules

    def redirect_of(self, request: Request) -> str:
        """Return the URL to redirect to after the link of a request."""
        return self.redirect_url(request.query_params.get("redirect_to", ""))

    def redirect_url(self, requested: str) -> str:
        """Return the URL if the project allows redirects to it, else the project's own."""
        return allowed_redirect(requested, self.rules.site_url, self.rules.redirect_urls)

    async def issue(self, transaction: AuthTransaction, user: User, kind: LinkKind, redirect_to: str) -> MailedLink:
        """Replace the user's token of this kind, and return the new one."""
        otp = "".join(secrets.choice("0123456789") for _ in range(self.rules.otp_characters))
        token_hash = hash_token(user.email or "", otp)
        sent = {f"{_COLUMN[kind]}_token": token_hash, f"{_COLUMN[kind]}_sent_at": datetime.now(UTC)}
        if kind == "invite":
            sent["invited_at"] = datetime.now(UTC)
        await transaction.update_user(user.id, **sent)
        query = urlencode({"token": token_hash, "type": kind, "redirect_to": redirect_to})
        url = f"{self.issuer}/verify?{query}"
        return MailedLink(kind=kind, otp=otp, token_hash=token_hash, url=url, redirect_to=redirect_to)

    async def send(self, transaction: AuthTransaction, user: User, kind: LinkKind, redirect_to: str) -> None:
        """Issue a token and write the mail to the log, since the stack sends none."""
        link = await self.issue(transaction, user, kind, redirect_to)
        logger.info("mail to %s (%s): code %s, link %s", user.email, kind, link.otp, link.url)

    async def redeem(self, transaction: AuthTransaction, kind: str, token_hash: str) -> User:
        """Return the user of a token, who is confirmed now; the token cannot be used again. Raise `AuthError`."""
        for column in _columns(kind):
            user = await transaction.user_by_token(column, token_hash, timedelta(seconds=self.rules.otp_lifetime_s))
            if user is None:
                continue
            if user.is_banned(datetime.now(UTC)):
                raise AuthError(403, "user_banned", "User is banned")
            used: dict[str, object] = {f"{column}_token": ""}
            if user.email_confirmed_at is None:
                metadata = {**user.raw_user_meta_data, "email_verified": True}
                used |= {"email_confirmed_at": datetime.now(UTC), "raw_user_meta_data": metadata}
            return await transaction.update_user(user.id, **used)
        raise AuthError(403, "otp_expired", "Email link is invalid or has expired")


def allowed_redirect(requested: str, site_url: str, patterns: tuple[str, ...]) -> str:
    """Return `requested` if it is on the host of the site or matches a pattern, else the URL of the site.

    In a pattern `*` matches any characters but `.` and `/`, and `**` any.
    """
    try:
        is_own = bool(requested) and urlsplit(requested).hostname == urlsplit(site_url).hostname
    except ValueError:
        return site_url
    return requested if is_own or any(_glob(pattern).fullmatch(requested) for pattern in patterns) else site_url


def _glob(pattern: str) -> re.Pattern[str]:
    parts = {"**": ".*", "*": "[^./]*", "?": "[^./]"}
    return re.compile("".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*|\?)", pattern)))


def hash_token(email: str, otp: str) -> str:
    """Return the hash of an address and its one-time password."""
    return hashlib.sha224((email + otp).encode()).hexdigest()


def _columns(kind: str) -> tuple[str, ...]:
    if kind == "email":
        return ("confirmation", "recovery")
    if kind not in _COLUMN:
        raise errors.validation_failed("Verify requires a verification type of an email")
    return (_COLUMN[kind],)
