"""Read-only tokens: each lets its holder read one smelt for 15 minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from smelt.contract.signed_tokens import SignedTokens

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
        self._signed = SignedTokens(keys, _PURPOSE)

    def issue(self, smelt_id: UUID, now: float) -> tuple[str, ReadToken]:
        """Return a token for a smelt, and its content."""
        content = ReadToken(smelt_id, int(now) + LIFETIME_S)
        return self._signed.sign(f"{smelt_id.hex}.{content.expires_at}"), content

    def verify(self, token: str) -> ReadToken | None:
        """Return the content of a token, which may have expired; None if none of the keys has signed it."""
        payload = self._signed.verify(token)
        if payload is None:
            return None
        smelt_id, _, expires_at = payload.partition(".")
        return ReadToken(UUID(smelt_id), int(expires_at))
