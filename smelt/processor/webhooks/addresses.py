"""Connections to public addresses alone: a webhook must not reach the worker's own network.

A name is resolved once for a connection, and the connection goes to the addresses that were checked: a name that
resolves to another address a moment later (DNS rebinding) has no effect.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Literal

import httpcore

from smelt.pickling import PicklableError

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host, for a port; raises `OSError`."""

_CONNECT_TIMEOUT_S: Final = 3.0

# The special-purpose registry of IANA, and 168.63.129.16, at which virtual machines reach their host on Azure.
_IPV4_NOT_PUBLIC: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Global unicast: everything else is local, multicast, reserved, or contains an IPv4 address (mapped, NAT64).
_IPV6_GLOBAL: Final = IPv6Network("2000::/3")
# Within it: protocol assignments with Teredo, documentation, and 6to4, which contains an IPv4 address.
_IPV6_NOT_PUBLIC: Final = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


Reason = Literal["address_not_allowed", "http_not_allowed", "name_not_resolved", "not_connected"]
"""Why a host is not reached: it has an address that is not public, no address, or none that accepts."""


class Unreachable(PicklableError):
    """A host is not reached."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def is_public(address: str) -> bool:
    """Return True if an IPv4 or IPv6 address is one of a public host."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    match parsed:
        case IPv4Address():
            return not any(parsed in network for network in _IPV4_NOT_PUBLIC)
        case IPv6Address():
            return parsed in _IPV6_GLOBAL and not any(parsed in network for network in _IPV6_NOT_PUBLIC)


class Resolver:
    """Resolves names in threads of its own: a name server that does not respond holds up no other part of a worker."""

    def __init__(self, max_threads: int) -> None:
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="webhook-names")

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, each once."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def close(self) -> None:
        """End the threads, without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to a host if all of its addresses are public.

    Args:
        resolve: Returns the addresses of a host.
        connector: Connects to an address.
        allow_private: True to connect to any address.
    """

    def __init__(
        self, resolve: Resolve, connector: httpcore.AsyncNetworkBackend, *, allow_private: bool = False
    ) -> None:
        self._resolve = resolve
        self._connector = connector
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that accepts, or raise `Unreachable`; TLS verifies the name, not the address."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise Unreachable("name_not_resolved") from exc
        if not addresses:
            raise Unreachable("name_not_resolved")
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise Unreachable("address_not_allowed")
        for address in addresses:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._connector.connect_tcp(
                    address, port, _CONNECT_TIMEOUT_S, local_address, socket_options
                )
        raise Unreachable("not_connected")
