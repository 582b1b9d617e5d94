"""Sends one request of a webhook, signed as the Standard Webhooks specification requires."""

import asyncio
import hmac
import ssl
import time
from base64 import b64decode, b64encode
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal

import httpcore
import httpx

from smelt.backend.pool import tls
from smelt.contract.webhooks import ClaimedDelivery
from smelt.distribution import NAME
from smelt.processor.webhooks.addresses import CheckedBackend, Reason, Resolve, Resolver, Unreachable

MAX_PLACES: Final = 4
TIMEOUT_S: Final = 10.0
MAX_RESPONSE_BYTES: Final = 64 * 1024
_DISCARD_TIMEOUT_S: Final = 1.0
# A lookup can't be cancelled, and keeps its thread after its attempt has timed out: for half a minute with the defaults
# of glibc and three name servers that do not respond. So many lookups of one user hold up nobody else's.
LOOKUP_THREADS: Final = 32

SendError = Reason | Literal["invalid_response", "timed_out", "tls_failed"]
"""Why an attempt has no status code. The address is not part of it: the owner of a webhook must not learn addresses of
the worker's network."""


@dataclass(frozen=True)
class SendResult:
    """The end of an attempt: a status code, or an error."""

    status_code: int | None
    error: SendError | None
    duration_ms: int


class Sender:
    """Sends requests to public addresses over HTTPS, without redirects, cookies, or proxies of the environment.

    Args:
        allow_private: True to send to any address, and over HTTP.
        timeout_s: The time of an attempt, from resolving the name to the status of the response.
        resolve: Returns the addresses of a host.
        connector: Connects to an address.
        tls_context: Verifies the certificates of the hosts.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve | None = None,
        connector: httpcore.AsyncNetworkBackend | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._resolver = Resolver(LOOKUP_THREADS)
        backend = CheckedBackend(
            resolve or self._resolver.resolve, connector or httpcore.AnyIOBackend(), allow_private=allow_private
        )
        # A connection is used once: the next request resolves and checks the name again.
        self._pool = httpcore.AsyncConnectionPool(
            tls_context or tls(), max_connections=None, max_keepalive_connections=0, network_backend=backend
        )

    async def aclose(self) -> None:
        """Close all connections."""
        self._resolver.close()
        await self._pool.aclose()

    async def send(self, delivery: ClaimedDelivery) -> SendResult:
        """Send a request; return the status code, or the error if there was no valid response in time."""
        started_s = time.monotonic()
        status_code: int | None = None
        error: SendError | None = None
        try:
            async with asyncio.timeout(self._timeout_s) as limit, self._response(delivery) as response:
                status_code = response.status
                limit.reschedule(asyncio.get_running_loop().time() + _DISCARD_TIMEOUT_S)
                await _discard_body(response)
        except (
            Unreachable,
            OSError,  # `TimeoutError`, and `ssl.SSLError` after the handshake.
            httpx.InvalidURL,
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
        ) as exc:
            error = None if status_code is not None else _error_of(exc)
        return SendResult(status_code, error, round(1000 * (time.monotonic() - started_s)))

    def _response(self, delivery: ClaimedDelivery) -> AbstractAsyncContextManager[httpcore.Response]:
        url = httpx.URL(delivery.url)
        if url.scheme != "https" and not self._allow_private:
            raise Unreachable("http_not_allowed")
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        return self._pool.stream("POST", target, headers=headers_of(delivery), content=delivery.body.encode())


def _error_of(failure: Exception) -> SendError:
    match failure:
        case Unreachable():
            return failure.reason
        case httpx.InvalidURL():
            return "name_not_resolved"
        case TimeoutError():
            return "timed_out"
        case httpcore.ConnectError() | httpcore.ConnectTimeout():
            return "tls_failed"
        case _:
            return "invalid_response"


async def _discard_body(response: httpcore.Response) -> None:
    """Read up to 64 KiB, so that the host can end its response; neither its size nor its end matters."""
    size_bytes = 0
    async for part in response.aiter_stream():
        size_bytes += len(part)
        if size_bytes > MAX_RESPONSE_BYTES:
            return


def headers_of(delivery: ClaimedDelivery) -> dict[bytes | str, bytes | str]:
    """Return the headers of a request: its id, its time, and a signature with each secret."""
    signatures = [signature(secret, str(delivery.id), delivery.sent_at, delivery.body) for secret in delivery.secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": f"smelt/{version(NAME)}",
        "webhook-id": str(delivery.id),
        "webhook-timestamp": str(delivery.sent_at),
        "webhook-signature": " ".join(signatures),
    }


def signature(secret: str, message_id: str, timestamp_s: int, body: str) -> str:
    """Return `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`; a secret is `whsec_` and base64."""
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp_s}.{body}".encode()
    return f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
