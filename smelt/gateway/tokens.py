"""Read-only tokens: each lets its holder read one smelt for 15 minutes."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

LIFETIME_S: Final = 15 * 60
_PURPOSE: Final = b"read"


@dataclass(frozen=True)
class ReadToken:
    """A token that was verified; `expires_at` is in seconds since 1970."""

    smelt_id: UUID
    expires_at: int


class ReadTokens:
    """Signs tokens with the first of some keys, and verifies tokens that any of them has signed."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def issue(self, smelt_id: UUID, now: float) -> tuple[str, ReadToken]:
        """Return a token for a smelt, and its content."""
        content = ReadToken(smelt_id, int(now) + LIFETIME_S)
        payload = f"{smelt_id.hex}.{content.expires_at}"
        return f"{payload}.{_signature(self._keys[0], payload).decode()}", content

    def verify(self, token: str) -> ReadToken | None:
        """Return the content of a token, which may have expired; None if none of the keys has signed it."""
        if not token.isascii():  # Lone surrogates can't be encoded, and no token has such characters.
            return None
        payload, _, signature = token.rpartition(".")
        if not any(hmac.compare_digest(_signature(key, payload), signature.encode()) for key in self._keys):
            return None
        smelt_id, _, expires_at = payload.partition(".")
        return ReadToken(UUID(smelt_id), int(expires_at))


def _signature(key: bytes, payload: str) -> bytes:
    # The purpose is part of what is signed: a token for another one is not accepted here.
    digest = hmac.digest(key, b"%s\0%s" % (_PURPOSE, payload.encode()), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=")
