"""Endpoints for links that the platform sends by mail, and for their one-time passwords."""

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from smelt.local.auth import errors, passwords
from smelt.local.auth.bearer import require_admin
from smelt.local.auth.emails import normalize_email
from smelt.local.auth.errors import AuthError
from smelt.local.auth.mailed_links import LINK_KINDS, LinkKind, MailedLink, MailedLinks, hash_token
from smelt.local.auth.requests import GenerateLink, MailRequest, Verification, read_body
from smelt.local.auth.sessions import Sessions
from smelt.local.auth.sign_in import insert_by_email
from smelt.local.auth.store import AuthStore, AuthTransaction, show_user
from smelt.local.auth.users import User, merge
from smelt.local.keys import Keys
from smelt.local.project import AuthRules


@dataclass(frozen=True)
class VerificationRoutes:
    """The endpoints that issue links and exchange them for sessions."""

    store: AuthStore
    sessions: Sessions
    links: MailedLinks
    keys: Keys
    rules: AuthRules

    async def generate_link(self, request: Request) -> Response:
        """`POST /admin/generate_link`: return a link instead of sending it."""
        require_admin(request, self.keys)
        body = await read_body(request, GenerateLink)
        if body.type not in LINK_KINDS:
            raise errors.not_served(f"A link of the type {body.type}")
        redirect_to = self.links.redirect_url(body.redirect_to)
        async with self.store.transaction() as transaction:
            user, link = await self._issue(transaction, body, body.type, redirect_to)
            identities = await transaction.identities([user])
        return JSONResponse({**user.as_json(identities[user.id]), **link.as_json()})

    async def invite(self, request: Request) -> Response:
        """`POST /invite`: create a user without a password, and write the invitation to the log."""
        require_admin(request, self.keys)
        body = await read_body(request, MailRequest)
        email = normalize_email(body.email)
        async with self.store.transaction() as transaction:
            user = await _unconfirmed(transaction, email) or await insert_by_email(
                transaction, email, None, body.data or {}
            )
            await self.links.send(transaction, user, "invite", self.links.redirect_of(request))
            return await show_user(transaction, user)

    async def recover(self, request: Request) -> Response:
        """`POST /recover`: write a link to the log; the response does not reveal whether the user exists."""
        body = await _read_mail_request(request)
        return await self._send_if_known(request, body.email, "recovery")

    async def one_time_password(self, request: Request) -> Response:
        """`POST /otp` and `POST /magiclink`: write a link and a one-time password to the log."""
        body = await _read_mail_request(request)
        if body.phone:
            raise AuthError(400, "phone_provider_disabled", "Unsupported phone provider")
        if not self.rules.allows_email:
            raise AuthError(422, "email_provider_disabled", "Email logins are disabled")
        email = normalize_email(body.email)
        async with self.store.transaction() as transaction:
            user = await transaction.user_by_email(email)
            if user is None:
                if not body.create_user:
                    raise AuthError(422, "otp_disabled", "Signups not allowed for otp")
                if not self.rules.allows_sign_up:
                    raise errors.signup_disabled()
                user = await insert_by_email(transaction, email, None, body.data or {})
            kind: LinkKind = "magiclink" if user.email_confirmed_at else "signup"
            await self.links.send(transaction, user, kind, self.links.redirect_of(request))
        return JSONResponse({})

    async def resend(self, request: Request) -> Response:
        """`POST /resend`: write another confirmation to the log."""
        body = await _read_mail_request(request)
        if body.type != "signup":
            raise errors.not_served(f"Sending {body.type or 'messages'} again")
        async with self.store.transaction() as transaction:
            user = await transaction.user_by_email(normalize_email(body.email))
            if user is not None and user.email_confirmed_at is None:
                await self.links.send(transaction, user, "signup", self.links.redirect_of(request))
        return JSONResponse({})

    async def verify(self, request: Request) -> Response:
        """`POST /verify`: exchange the hash of a link, or an address and its one-time password, for a session."""
        body = await read_body(request, Verification)
        if body.phone:
            raise AuthError(403, "otp_expired", "Token has expired or is invalid")
        if bool(body.token_hash) == bool(body.token and body.email):
            raise errors.validation_failed("Verify requires either a token_hash, or an email and a token")
        token_hash = body.token_hash or hash_token(normalize_email(body.email), body.token)
        return JSONResponse(await self._redeem(request, body.type, token_hash))

    async def follow(self, request: Request) -> Response:
        """`GET /verify?token=&type=&redirect_to=`: redirect with a session or an error in the fragment."""
        query = request.query_params
        target = self.links.redirect_url(query.get("redirect_to", ""))
        kind = query.get("type", "")
        try:
            session = await self._redeem(request, kind, query.get("token", ""))
        except AuthError as error:
            fields = {"error": "access_denied", "error_code": error.error_code, "error_description": error.message}
            return RedirectResponse(f"{target}#{urlencode(fields)}", 303)
        names = ("access_token", "expires_at", "expires_in", "refresh_token", "token_type")
        return RedirectResponse(f"{target}#{urlencode({name: session[name] for name in names} | {'type': kind})}", 303)

    async def _redeem(self, request: Request, kind: str, token_hash: str) -> dict[str, object]:
        async with self.store.transaction() as transaction:
            user = await self.links.redeem(transaction, kind, token_hash)
            return await self.sessions.open(transaction, user, "otp", request.headers.get("user-agent"))

    async def _send_if_known(self, request: Request, email: str, kind: LinkKind) -> Response:
        async with self.store.transaction() as transaction:
            user = await transaction.user_by_email(normalize_email(email))
            if user is not None:
                await self.links.send(transaction, user, kind, self.links.redirect_of(request))
        return JSONResponse({})

    async def _issue(
        self, transaction: AuthTransaction, body: GenerateLink, kind: LinkKind, redirect_to: str
    ) -> tuple[User, MailedLink]:
        """Return the user of a link, created if needed, and the link; a magic link of a new user is a sign-up."""
        email = normalize_email(body.email)
        user = await transaction.user_by_email(email)
        if user is None and kind == "recovery":
            raise AuthError(404, "user_not_found", "User with this email not found")
        if user is None and kind == "magiclink":
            kind = "signup"
        elif kind == "signup" and not body.password:
            raise errors.validation_failed("Signup requires a valid password")
        if user is not None and kind in ("signup", "invite"):
            user = await _unconfirmed(transaction, email)
        if user is None:
            if body.password:
                passwords.check_password(body.password, self.rules)
            hashed = await passwords.hash_password(body.password) if body.password and kind == "signup" else None
            user = await insert_by_email(transaction, email, hashed, body.data or {})
        elif body.data:
            metadata = merge(user.raw_user_meta_data, body.data)
            user = await transaction.update_user(user.id, raw_user_meta_data=metadata)
        return user, await self.links.issue(transaction, user, kind, redirect_to)


async def _read_mail_request(request: Request) -> MailRequest:
    body = await read_body(request, MailRequest)
    if body.code_challenge:
        raise errors.not_served("PKCE (`flowType: 'pkce'`) with links by mail")
    return body


async def _unconfirmed(transaction: AuthTransaction, email: str) -> User | None:
    """Return the user of an address, or None; raise `AuthError` if the address is confirmed."""
    user = await transaction.user_by_email(email)
    if user is not None and user.email_confirmed_at is not None:
        raise errors.email_exists()
    return user
