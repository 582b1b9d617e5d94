"""Passwords: what is accepted, and bcrypt off the event loop."""

import asyncio
from typing import Final

import bcrypt

from smelt.local.auth import errors

# bcrypt looks at no more.
MAX_BYTES: Final = 72
COST: Final = 10


def check_password(password: str, min_characters: int) -> None:
    """Refuse a password that is too short, or longer than what would be looked at."""
    check_length(password)
    if len(password) < min_characters:
        raise errors.weak_password(f"Password should be at least {min_characters} characters.", "length")


def check_length(password: str) -> None:
    """Refuse a password that is longer than what would be looked at."""
    if len(password.encode()) > MAX_BYTES:
        raise errors.validation_failed("Password cannot be longer than 72 characters")


async def hash_password(password: str) -> str:
    """Answer the bcrypt hash of an accepted password."""
    hashed = await asyncio.to_thread(bcrypt.hashpw, password.encode(), bcrypt.gensalt(COST))
    return hashed.decode("ascii")


async def matches(password: str, hashed: str | None) -> bool:
    """Whether the password is the one that was hashed."""
    if not hashed or len(password.encode()) > MAX_BYTES:
        return False
    try:
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), hashed.encode("ascii"))
    except ValueError:
        # A hash that somebody wrote in SQL and that is none of bcrypt's.
        return False
