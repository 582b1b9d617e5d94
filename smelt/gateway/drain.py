"""The drain: the moment from which a gateway accepts no new work and ends its streams."""

import asyncio
from typing import Annotated

from fastapi import Depends, Request


def current_drain(request: Request) -> asyncio.Event:
    """Return the event that is set when the running application begins to stop."""
    drain: asyncio.Event = request.app.state.drain
    return drain


Drain = Annotated[asyncio.Event, Depends(current_drain)]
