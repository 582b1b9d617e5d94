"""Broadcasts over REST, for those who are not joined."""

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
    """Broadcast on a private channel; returns once the server has taken it.

    The endpoint for a single message, because the one for many also answers 202 to what it drops as unauthorized.
    """
    endpoint = f"{url}/api/broadcast/{quote(topic, safe='')}/events/{quote(event, safe='')}"
    async for attempt in transient_retries():
        with attempt:
            try:
                response = await http.post(endpoint, params={"private": "true"}, json=payload)
            except httpx.TransportError as exc:
                raise Unavailable(f"broadcasting on {topic}: {type(exc).__name__}") from exc
            if response.status_code != httpx.codes.ACCEPTED:
                raise map_http_error(response.status_code, f"the broadcast on {topic} was not taken")
