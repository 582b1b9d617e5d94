"""Gateways over a project, in a thread of this process."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from smelt.gateway.options import GatewayOptions
from smelt.gateway.server import GatewayServer, listen
from tests.harness.stacks import TLS, Stack
from tests.harness.waiting import wait_until

SIGNING_KEY = "a signing key of thirty-two bytes"
STOP_TIMEOUT_S = 60.0

Open = Callable[[str | None], httpx.AsyncClient]
"""Returns an HTTP client of a gateway with a credential."""


@dataclass(frozen=True)
class RunningGateway:
    """A gateway in a thread of this process; its state belongs to that thread's event loop."""

    url: str
    server: GatewayServer


def options_for(stack: Stack, **changes: Any) -> GatewayOptions:
    """Return options for a project, with read-only tokens."""
    given: dict[str, Any] = {
        "url": stack.api_url,
        "key": stack.anon_key,
        "secret_key": stack.service_role_key,
        "signing_keys": (SIGNING_KEY,),
        "drain_s": 5.0,
    }
    return GatewayOptions(**{**given, **changes})


def http_client(url: str, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """Return an HTTP client of a gateway or project."""
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60, verify=TLS)


@contextmanager
def running_gateway(options: GatewayOptions) -> Iterator[RunningGateway]:
    """Run a gateway on a free port in a thread; drain it at the end."""
    server = GatewayServer(options, listen("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.run_until_stopped()), name="gateway")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), lambda: "the gateway does not listen", 30)
        assert server.started
        yield RunningGateway(server.address, server)
    finally:
        server.stop()
        thread.join(STOP_TIMEOUT_S)
        assert not thread.is_alive(), "the gateway does not stop"
