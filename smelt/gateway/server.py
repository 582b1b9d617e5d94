"""Serves the gateway with uvicorn until it is stopped, then drains."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from smelt.errors import SettingsError
from smelt.gateway.app import create_app
from smelt.gateway.connection import MAX_HEADER_BYTES, HttpConnection
from smelt.gateway.options import GatewayOptions

logger = logging.getLogger(__name__)

KEEP_ALIVE_TIMEOUT_S: Final = 75
"""It must exceed the time for which clients and proxies keep idle connections."""


class GatewayServer(uvicorn.Server):
    """A gateway on an open socket; `stop` begins the drain.

    Streams end, running requests finish within `drain_s`, and new connections are not accepted.
    """

    def __init__(self, options: GatewayOptions, listener: socket.socket) -> None:
        self._app: FastAPI = create_app(options)
        self._listener = listener
        self._url = options.url
        super().__init__(
            uvicorn.Config(
                self._app,
                lifespan="on",
                http=HttpConnection,
                ws="none",
                log_config=None,
                # It would log query strings, which may hold tokens.
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
                timeout_graceful_shutdown=round(options.drain_s),
                proxy_headers=bool(options.trusted_proxies),
                forwarded_allow_ips=list(options.trusted_proxies),
            )
        )

    @property
    def address(self) -> str:
        """The URL of the gateway on this machine."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run_until_stopped(self) -> None:
        """Serve until `stop` is called and the running requests have ended."""
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Begin the drain; a second call ends it at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log the address."""
        await super().startup(sockets)
        logger.info("the gateway of %s listens at %s", self._url, self.address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, and wait for running requests."""
        drain: asyncio.Event = self._app.state.drain
        drain.set()
        logger.info("draining: running requests finish, streams end")
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any free one. Raise `SettingsError` if it is in use."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as exc:
        raise SettingsError(f"SMELT_GATEWAY_HOST={host}, SMELT_GATEWAY_PORT={port}: {exc.strerror or exc}") from exc
