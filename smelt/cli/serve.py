"""`smelt serve`: kept for the HTTP gateway."""

import asyncio

from smelt.cli.output import Exit, run
from smelt.errors import PermanentError


def serve() -> None:
    """Not there yet: an HTTP gateway for clients that can't use Supabase's own."""
    run(asyncio.to_thread(_raise_unavailable))


def _raise_unavailable() -> Exit:
    raise PermanentError("there is no HTTP gateway yet; apps and services talk to the Supabase project itself")
