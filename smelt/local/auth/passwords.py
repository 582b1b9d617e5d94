"""Validation of passwords, and bcrypt in threads."""

import asyncio
from typing import Final

import bcrypt

from smelt.local.auth import errors
from smelt.local.project import AuthRules

# bcrypt ignores further bytes.
MAX_BYTES: Final = 72
COST: Final = 10


def check_password(password: str, rules: AuthRules) -> None:
    """Raise `AuthError` for a password that is too long, or weaker than the project requires."""
    check_length(password)
    messages: dict[str, str] = {}
    if len(password) < rules.password_min_characters:
        messages["length"] = f"Password should be at least {rules.password_min_characters} characters."
    if not all(set(characters) & set(password) for characters in rules.password_characters):
        listed = ", ".join(rules.password_characters)
        messages["characters"] = f"Password should contain at least one character of each: {listed}."
    if messages:
        raise errors.weak_password(" ".join(messages.values()), *messages)


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
