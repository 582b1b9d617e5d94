"""Addresses, as far as Auth looks at them."""

import re
from typing import Final

from smelt.local.auth import errors

MAX_CHARACTERS: Final = 255

_ADDRESS: Final = re.compile(r"[^\s@\"(),:;<>\[\\\]]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)


def normalize_email(email: str) -> str:
    """Answer the address in lower case; refuse what is none."""
    address = email.strip().lower()
    if len(address) > MAX_CHARACTERS or _ADDRESS.fullmatch(address) is None:
        raise errors.validation_failed("Unable to validate email address: invalid format")
    return address
