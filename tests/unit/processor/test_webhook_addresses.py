"""The addresses that webhooks may reach."""

import asyncio
import socket
import threading

import httpcore
import pytest

from smelt.processor.webhooks.addresses import CheckedBackend, Resolver, Unreachable, is_public
from smelt.processor.webhooks.sender import LOOKUP_THREADS, MAX_PLACES

NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00:ec2::254"],
    "link-local": ["169.254.169.254", "fe80::1", "fe80::1%1"],
    "site-local": ["fec0::1"],
    "CGNAT": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.8", "198.18.0.1", "5f00::1", "4000::1", "100::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "IPv4-mapped": ["::ffff:10.0.0.1", "::ffff:93.184.216.34", "::ffff:0:93.184.216.34"],
    "IPv4-compatible": ["::127.0.0.1"],
    "NAT64": ["64:ff9b::10.0.0.1", "64:ff9b::93.184.216.34", "64:ff9b:1::1"],
    "6to4": ["2002:7f00:1::1", "2002:5db8:d822::1", "192.88.99.1"],
    "Teredo": ["2001::1", "2001:0:7f00:1::1"],
    "host of a virtual machine": ["168.63.129.16"],
    "not an address": ["localhost", "", "127.1"],
}
PUBLIC = ["93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.167.255.255", "2606:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind, addresses in NOT_PUBLIC.items() for address in addresses]
)
def test_address_that_is_not_public_is_recognized(kind: str, address: str) -> None:
    assert not is_public(address), kind


@pytest.mark.parametrize("address", PUBLIC)
def test_address_that_is_public_is_recognized(address: str) -> None:
    assert is_public(address)


class Connector(httpcore.AsyncMockBackend):
    """Records the addresses to connect to; those of `down` do not accept."""

    def __init__(self, *down: str) -> None:
        super().__init__([])
        self.addresses: list[str] = []
        self._down = down

    async def connect_tcp(self, host: str, *args: object, **kwargs: object) -> httpcore.AsyncNetworkStream:
        self.addresses.append(host)
        if host in self._down:
            raise httpcore.ConnectError
        return await super().connect_tcp(host, 443)


async def test_lookups_that_hang_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt times out before its lookup ends, whose thread stays occupied."""
    respond = threading.Event()

    def lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host == "hangs.example":
            respond.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    resolver = Resolver(LOOKUP_THREADS)
    try:
        for _ in range(3 * MAX_PLACES):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await resolver.resolve("hangs.example", 443)
        async with asyncio.timeout(10):
            assert await resolver.resolve("responds.example", 443) == ["93.184.216.34"]
    finally:
        respond.set()
        resolver.close()


def backend(connector: Connector, *addresses: str, allow_private: bool = False) -> CheckedBackend:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [*addresses]

    return CheckedBackend(resolve, connector, allow_private=allow_private)


async def test_connection_goes_to_the_first_address_that_accepts() -> None:
    connector = Connector("2606:4700::1111")
    await backend(connector, "2606:4700::1111", "1.1.1.1", "1.0.0.1").connect_tcp("hook.example", 443)
    assert connector.addresses == ["2606:4700::1111", "1.1.1.1"]


async def test_connection_is_not_made_if_one_of_the_addresses_is_private() -> None:
    connector = Connector()
    with pytest.raises(Unreachable, match="address_not_allowed"):
        await backend(connector, "1.1.1.1", "10.0.0.1").connect_tcp("hook.example", 443)
    assert connector.addresses == []
    await backend(connector, "10.0.0.1", allow_private=True).connect_tcp("hook.example", 443)
    assert connector.addresses == ["10.0.0.1"]


async def test_connection_to_a_host_without_addresses_fails() -> None:
    async def fail(_host: str, _port: int) -> list[str]:
        raise socket.gaierror

    with pytest.raises(Unreachable, match="name_not_resolved"):
        await CheckedBackend(fail, Connector()).connect_tcp("hook.example", 443)
    with pytest.raises(Unreachable, match="name_not_resolved"):
        await backend(Connector()).connect_tcp("hook.example", 443)
    with pytest.raises(Unreachable, match="not_connected"):
        await backend(Connector("1.1.1.1"), "1.1.1.1").connect_tcp("hook.example", 443)
