"""The sessions of `smelt login`: one private file per project."""

import asyncio
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import Final
from urllib.parse import quote

import platformdirs
from pydantic import ValidationError

from smelt.backend.session import SignInSession
from smelt.errors import PermanentError, RequestRejected, Unauthorized

REFRESH_BEFORE_S: Final = 90.0
LOCK_POLL_S: Final = 0.05


def can_store_logins() -> bool:
    """Return False on Windows, which has neither the locks nor the file modes that a stored login needs."""
    return find_spec("fcntl") is not None


class LoginFile:
    """The session of one project, readable by its owner alone."""

    def __init__(self, url: str) -> None:
        self.path = platformdirs.user_state_path("smelt") / "logins" / f"{quote(url, safe='')}.json"

    def read(self) -> SignInSession | None:
        """Return the session, or None; raise `PermanentError` if the file is damaged or not private to this user."""
        if not can_store_logins():
            return None
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise PermanentError(f"{self.path} can't be read: {exc.strerror}") from exc
        with open(descriptor, encoding="utf-8") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
                raise PermanentError(f"{self.path} is not private to you: run `smelt logout`, then `smelt login`")
            try:
                return SignInSession.model_validate_json(file.read())
            except (ValidationError, UnicodeDecodeError) as exc:
                raise PermanentError(f"{self.path} is damaged: run `smelt logout`, then `smelt login`") from exc

    def write(self, session: SignInSession) -> None:
        """Replace the session."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Written to a temporary file of mode 0600, then renamed: readers see either the old or the new session.
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
                file.write(session.model_dump_json())
            os.replace(file.name, self.path)
        except OSError as exc:
            raise PermanentError(f"the login can't be stored in {self.path.parent}: {exc.strerror}") from exc

    def remove(self) -> bool:
        """Remove the session; return False if there is none."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise PermanentError(f"{self.path} can't be removed: {exc.strerror}") from exc
        return True

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Lock the session against a refresh by another process: a refresh token can be used only once."""
        import fcntl  # Not at the top: Windows lacks it.

        descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                await asyncio.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)


class LoginTokens:
    """A token callable: returns the access token of a login, refreshed if it expires soon or was rejected."""

    def __init__(self, file: LoginFile, url: str, key: str) -> None:
        self._file = file
        self._url = url
        self._key = key
        self._last: str | None = None

    async def __call__(self) -> str:
        """Return an access token that differs from the last returned one, which was rejected or expires."""
        if (token := self._usable()) is None:
            async with self._file.locked():
                # Another process may have refreshed it meanwhile.
                token = self._usable() or await self._refresh()
        self._last = token
        return token

    def _usable(self) -> str | None:
        session = self._session()
        fresh = session.expires_at - REFRESH_BEFORE_S > time.time() and session.access_token != self._last
        return session.access_token if fresh else None

    async def _refresh(self) -> str:
        from smelt.backend.signing_in import SignIn  # This import takes 0.2 s.

        try:
            session = await SignIn(self._url, self._key).refreshed(self._session())
        except (Unauthorized, RequestRejected) as exc:
            raise Unauthorized(f"the login has expired ({exc}): run `smelt login`") from exc
        self._file.write(session)
        return session.access_token

    def _session(self) -> SignInSession:
        if (session := self._file.read()) is None:
            raise Unauthorized("you are no longer signed in: run `smelt login`")
        return session
