"""Requests to endpoints that are slow, hostile, or not where they claim to be, over real sockets."""

import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
import trustme
from standardwebhooks import Webhook

from smelt.contract.webhooks import ClaimedDelivery
from smelt.processor.webhooks.sender import MAX_RESPONSE_BYTES, Sender
from tests.harness.webhook_endpoints import (
    Redirecting,
    Respond,
    broken_tls,
    dripping,
    endless_head,
    gigabyte,
    hang,
    raw,
    running_endpoint,
    status,
)

SECRET = f"whsec_{b64encode(b'k' * 32).decode()}"
PUBLIC = "93.184.216.34"


def delivery(url: str) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=uuid4(),
        webhook_id=uuid4(),
        event="smelt.completed",
        attempt=1,
        url=url,
        body='{"type": "smelt.completed", "data": {"metadata": {"course": "Zoë"}}}',
        sent_at=int(time.time()),
        secrets=(SECRET,),
    )


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A sender that may reach this machine."""
    sender = Sender(allow_private=True)
    yield sender
    await sender.aclose()


async def sent(sender: Sender, url: str) -> tuple[int | None, str | None]:
    """Send a request; return the status code and the error."""
    result = await sender.send(delivery(url))
    return result.status_code, result.error


async def test_request_is_a_post_that_the_official_package_accepts(sender: Sender) -> None:
    async with running_endpoint(status(204)) as endpoint:
        message = delivery(endpoint.url)
        result = await sender.send(message)
    assert (result.status_code, result.error) == (204, None)
    [request] = endpoint.requests
    assert request.target == "/hook?key=1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == str(message.id)
    assert request.headers["host"] == f"127.0.0.1:{endpoint.port}"
    verified = Webhook(SECRET).verify(request.body, request.headers)
    assert verified["data"]["metadata"] == {"course": "Zoë"}


async def test_redirect_is_not_followed(sender: Sender) -> None:
    async with running_endpoint() as other, running_endpoint(status(302, Location=other.url)) as endpoint:
        assert await sent(sender, endpoint.url) == (302, None)
    assert (len(endpoint.requests), other.connection_count) == (1, 0)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
async def test_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async with running_endpoint() as proxy, running_endpoint() as endpoint:
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        sender = Sender(allow_private=True)
        assert await sent(sender, endpoint.url) == (200, None)
        await sender.aclose()
    assert (proxy.connection_count, endpoint.connection_count) == (0, 1)


@pytest.mark.parametrize("respond", [hang, dripping()], ids=["hang", "drip"])
async def test_response_without_a_status_in_time_is_an_error(respond: Respond) -> None:
    sender = Sender(allow_private=True, timeout_s=0.5)
    async with running_endpoint(respond) as endpoint:
        assert await sent(sender, endpoint.url) == (None, "timed_out")
    await sender.aclose()


async def test_head_without_an_end_is_an_error(sender: Sender) -> None:
    async with running_endpoint(endless_head) as endpoint:
        assert await sent(sender, endpoint.url) == (None, "invalid_response")
        # The rest is in the buffers of the sockets.
        assert endpoint.sent_bytes < 32 * 1024 * 1024


async def test_status_counts_although_the_body_never_ends() -> None:
    sender = Sender(allow_private=True, timeout_s=60)
    async with running_endpoint(dripping(b"HTTP/1.1 201 Created\r\nContent-Length: 9999999\r\n\r\n")) as endpoint:
        assert await sent(sender, endpoint.url) == (201, None)
    await sender.aclose()


async def test_body_of_a_gigabyte_is_read_up_to_64_kib(sender: Sender) -> None:
    async with running_endpoint(gigabyte) as endpoint:
        assert await sent(sender, endpoint.url) == (200, None)
        # The rest is in the buffers of the sockets.
        assert endpoint.sent_bytes < MAX_RESPONSE_BYTES + 32 * 1024 * 1024


@pytest.mark.parametrize(
    "content", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200", b"HTTP/1.1 abc OK\r\n\r\n"], ids=repr
)
async def test_response_that_is_not_http_is_an_error(sender: Sender, content: bytes) -> None:
    async with running_endpoint(raw(content)) as endpoint:
        assert await sent(sender, endpoint.url) == (None, "invalid_response")


async def test_http_and_private_addresses_are_rejected_without_a_connection() -> None:
    sender = Sender()
    async with running_endpoint() as endpoint:
        assert await sent(sender, endpoint.url) == (None, "http_not_allowed")
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"):
            url = f"https://{host}:{endpoint.port}/"
            assert await sent(sender, url) == (None, "address_not_allowed"), host
    await sender.aclose()
    assert endpoint.connection_count == 0


async def test_address_without_a_listener_is_not_connected(sender: Sender) -> None:
    async with running_endpoint() as endpoint:
        pass
    assert await sent(sender, endpoint.url) == (None, "not_connected")


class Names:
    """A resolver that returns these addresses, one in each call."""

    def __init__(self, *addresses: str) -> None:
        self.hosts: list[str] = []
        self._addresses = list(addresses)

    async def resolve(self, host: str, _port: int) -> list[str]:
        self.hosts.append(host)
        return [self._addresses.pop(0)]


@pytest.fixture
def secured() -> "Secured":
    """Return a function that makes a sender and the TLS context of an endpoint, with the names that it is asked for."""
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("hook.example").configure_cert(server)
    requested: list[str] = []
    server.sni_callback = lambda _socket, name, _context: requested.append(name)  # type: ignore[assignment, misc]

    def make(names: Names, connector: Redirecting) -> tuple[Sender, ssl.SSLContext, list[str]]:
        return Sender(resolve=names.resolve, connector=connector, tls_context=client), server, requested

    return make


Secured = Callable[[Names, Redirecting], tuple[Sender, ssl.SSLContext, list[str]]]


async def test_tls_verifies_the_name_and_not_the_address(secured: Secured) -> None:
    names, connector = Names(PUBLIC, PUBLIC), Redirecting()
    sender, tls, requested = secured(names, connector)
    async with running_endpoint(tls=tls) as endpoint:
        assert await sent(sender, f"https://hook.example:{endpoint.port}/") == (200, None)
        assert await sent(sender, f"https://other.example:{endpoint.port}/") == (None, "tls_failed")
    await sender.aclose()
    assert requested == ["hook.example", "other.example"]
    assert names.hosts == requested
    [request] = endpoint.requests
    assert request.headers["host"] == f"hook.example:{endpoint.port}"


async def test_tls_that_breaks_is_an_error(secured: Secured) -> None:
    """An exception that is not expected would leave the delivery unsettled, to be sent again without an end."""
    sender, tls, _ = secured(Names(PUBLIC), Redirecting())
    async with running_endpoint(broken_tls, tls) as endpoint:
        assert await sent(sender, f"https://hook.example:{endpoint.port}/") == (None, "invalid_response")
    await sender.aclose()


@pytest.mark.parametrize("host", ["999.1.1.1", "a..b", f"{'a' * 64}.example"])
async def test_host_that_is_not_valid_has_no_address(host: str) -> None:
    sender = Sender()
    assert await sent(sender, f"https://{host}/") == (None, "name_not_resolved")
    await sender.aclose()


async def test_dns_rebinding_does_not_reach_a_private_address(secured: Secured) -> None:
    """The name has a public address when it is checked, and a private one a moment later."""
    names, connector = Names(PUBLIC, "127.0.0.1", PUBLIC, "10.0.0.1"), Redirecting()
    sender, tls, _ = secured(names, connector)
    async with running_endpoint(tls=tls) as endpoint:
        url = f"https://hook.example:{endpoint.port}/"
        assert await sent(sender, url) == (200, None)
        assert await sent(sender, url) == (None, "address_not_allowed")
        assert await sent(sender, url) == (200, None)
        assert await sent(sender, url) == (None, "address_not_allowed")
    await sender.aclose()
    # Connections go to the addresses that were checked; nothing resolves the name once more.
    assert connector.addresses == [PUBLIC, PUBLIC]
    assert len(names.hosts) == 4
