"""Validation of passwords, and bcrypt in threads."""

import asyncio
from typing import Final

import bcrypt

from smelt.local.auth import errors

# bcrypt ignores further bytes.
MAX_BYTES: Final = 72
COST: Final = 10


def check_password(password: str, min_characters: int) -> None:
    """Raise `AuthError` for a password that is too short or too long."""
    check_length(password)
    if len(password) < min_characters:
        raise errors.weak_password(f"Password should be at least {min_characters} characters.", "length")


def check_length(password: str) -> None:
    """Raise `AuthError` for a password that is longer than bcrypt's limit."""
    if len(password.encode()) > MAX_BYTES:
        raise errors.validation_failed("Password cannot be longer than 72 characters")


async def hash_password(password: str) -> str:
    """Return the bcrypt hash of a valid password."""
    hashed = await asyncio.to_thread(bcrypt.hashpw, password.encode(), bcrypt.gensalt(COST))
    return hashed.decode("ascii")


async def matches(password: str, hashed: str | None) -> bool:
    """Return True if the password matches the hash."""
    if not hashed or len(password.encode()) > MAX_BYTES:
        return False
    try:
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), hashed.encode("ascii"))
    except ValueError:
        # A value that was written with SQL and is not a bcrypt hash.
        return False
