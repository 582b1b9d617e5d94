"""Broadcasts over REST, for senders that have not joined the channel."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from smelt.backend.error_mapping import map_http_error
from smelt.backend.retries import transient_retries
from smelt.errors import Unavailable


async def broadcast_over_rest(
    http: httpx.AsyncClient, url: str, topic: str, event: str, payload: Mapping[str, Any]
) -> None:
    """Broadcast on a private channel; return once the server has accepted the message.

    Uses the endpoint for a single message, because the one for many also responds with 202 to messages that it drops
    as unauthorized.
    """
    endpoint = f"{url}/api/broadcast/{quote(topic, safe='')}/events/{quote(event, safe='')}"
    async for attempt in transient_retries():
        with attempt:
            try:
                response = await http.post(endpoint, params={"private": "true"}, json=payload)
            except httpx.TransportError as exc:
                raise Unavailable(f"broadcasting on {topic}: {type(exc).__name__}") from exc
            if response.status_code != httpx.codes.ACCEPTED:
                raise map_http_error(response.status_code, f"the broadcast on {topic} was not accepted")
