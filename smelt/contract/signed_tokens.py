"""Tokens that a gateway or a worker signs with HMAC-SHA256. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Sequence


class SignedTokens:
    """Signs payloads with the first of some keys, and verifies tokens that any of them has signed.

    The purpose is part of what is signed: a token for another purpose is not accepted. A payload is ASCII text.
    """

    def __init__(self, keys: Sequence[str], purpose: bytes) -> None:
        self._keys = [key.encode() for key in keys]
        self._purpose = purpose

    def sign(self, payload: str) -> str:
        """Return the token of a payload."""
        return f"{payload}.{self._signature(self._keys[0], payload).decode()}"

    def verify(self, token: str) -> str | None:
        """Return the payload of a token; None if none of the keys has signed it."""
        if not token.isascii():  # Lone surrogates can't be encoded, and no token has such characters.
            return None
        payload, _, signature = token.rpartition(".")
        is_signed = any(hmac.compare_digest(self._signature(key, payload), signature.encode()) for key in self._keys)
        return payload if is_signed else None

    def _signature(self, key: bytes, payload: str) -> bytes:
        digest = hmac.digest(key, b"%s\0%s" % (self._purpose, payload.encode()), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=")
