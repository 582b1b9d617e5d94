"""Validation of email addresses."""

import re
from typing import Final

from smelt.local.auth import errors

MAX_CHARACTERS: Final = 255

_ADDRESS: Final = re.compile(r"[^\s@\"(),:;<>\[\\\]]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)


def normalize_email(email: str) -> str:
    """Return the address in lower case; raise `AuthError` if it is not valid."""
    address = email.strip().lower()
    if len(address) > MAX_CHARACTERS or _ADDRESS.fullmatch(address) is None:
        raise errors.validation_failed("Unable to validate email address: invalid format")
    return address
