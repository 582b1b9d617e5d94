"""Bounds on what callers may send, and on what runs at a time."""

from typing import Final

MAX_BODY_BYTES: Final = 1024 * 1024
"""The largest body without files; a text of 50,000 characters fits."""
