"""Every request: an access log without query strings, metrics, and headers that protect browsers."""

import asyncio
import logging
import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smelt.errors import Unavailable
from smelt.gateway.clients import Clients
from smelt.gateway.errors import response_to
from smelt.gateway.limits import Places
from smelt.gateway.openai.errors import translated

logger = logging.getLogger(__name__)

PROTECTION: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    # Responses hold what only their caller may read.
    "Cache-Control": "no-store",
}
_BUCKETS_S: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600)
_UNKNOWN_ROUTE: Final = "unknown"


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "smelt_gateway_requests",
            "Requests by route and status",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "smelt_gateway_response_seconds",
            "Seconds until the first byte of a response",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )

    def show(self, uploads: Places, streams: Places, clients: Clients) -> None:
        """Export what runs now."""
        for name, text, count in (
            ("smelt_gateway_uploads", "Requests with files", lambda: uploads.count),
            ("smelt_gateway_streams", "Event streams, and requests that wait for an end", lambda: streams.count),
            ("smelt_gateway_clients", "Clients of the project that requests share", lambda: clients.count),
        ):
            Gauge(name, text, registry=self._registry).set_function(count)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request whose response has begun."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class Requests:
    """Middleware around all other."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; count and log its response when it begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        has_started = False

        async def observed(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                for name, value in PROTECTION.items():
                    headers.setdefault(name, value)
                self._observe(scope, message["status"], time.perf_counter() - started_at)
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except asyncio.CancelledError:  # The time for the drain is over.
            if has_started:
                raise
            response = translated(scope["path"], response_to(Unavailable("The gateway stops.")))
            await response(scope, receive, observed)

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        # The template of the path: a path has ids, and an unknown one anything.
        route = getattr(scope.get("route"), "path", _UNKNOWN_ROUTE)
        method = scope["method"] if route != _UNKNOWN_ROUTE else _UNKNOWN_ROUTE
        self._metrics.count(method, route, status, seconds)
        logger.info("%s %s %s %.0f ms", scope["method"], _shown_path(scope), status, seconds * 1000)


def _shown_path(scope: Scope) -> str:
    # Without the query string, which may hold a token.
    return str(scope["path"])[:200]
