"""`smelt serve`: reserved for an HTTP gateway."""

import asyncio

from smelt.cli.output import Exit, run
from smelt.errors import PermanentError


def serve() -> None:
    """Not implemented: an HTTP gateway for clients that can't use Supabase's API."""
    run(asyncio.to_thread(_raise_unavailable))


def _raise_unavailable() -> Exit:
    raise PermanentError("the HTTP gateway is not implemented; apps and services call the Supabase project directly")
