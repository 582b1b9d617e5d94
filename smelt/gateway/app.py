"""The application: its routes, and what they share while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware

from smelt.backend.pool import Pool
from smelt.distribution import NAME
from smelt.gateway.callers import CALL_TIMEOUT_S, Callers
from smelt.gateway.clients import Clients
from smelt.gateway.errors import add_error_handlers
from smelt.gateway.limits import BodyLimits, Places
from smelt.gateway.openai.errors import SMELT_ID_HEADER, add_openai_error_handlers
from smelt.gateway.options import GatewayOptions
from smelt.gateway.requests import Metrics, Requests
from smelt.gateway.routes import (
    batches,
    callbacks,
    documents,
    events,
    health,
    notifications,
    openai,
    package,
    page,
    reads,
    smelts,
)
from smelt.gateway.streams.hub import Hub
from smelt.gateway.uploads import NewSmelt, NewSmeltForm

MAX_CONNECTIONS: Final = 100
"""Connections to the project, which all callers share."""

DESCRIPTION: Final = """
Transcription jobs over HTTP. Each request carries the caller's own Supabase token, and the project's row level security
decides. Errors have one shape: `{"error": sentence, "code": stable, "details"?}`.
"""


class Gateway(FastAPI):
    """The application of one project."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with the bodies that routes read themselves."""
        if not self.openapi_schema:
            schemas = super().openapi()["components"]["schemas"]
            _, found = models_json_schema(
                [(NewSmelt, "validation"), (NewSmeltForm, "validation")], ref_template="#/components/schemas/{model}"
            )
            schemas.update(found["$defs"])
        return super().openapi()


def create_app(options: GatewayOptions) -> Gateway:
    """Return the gateway of one project."""
    metrics = Metrics()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        pool = Pool(None, CALL_TIMEOUT_S, max_connections=MAX_CONNECTIONS)
        async with aclosing(pool), aclosing(Clients(pool)) as clients:
            app.state.callers = Callers(options, pool)
            app.state.clients = clients
            app.state.drain = drain = asyncio.Event()
            metrics.show(app.state.uploads, app.state.streams, clients)
            async with Hub(clients, drain, app.state.streams) as app.state.hub:
                yield

    app = Gateway(
        title="smelt",
        description=DESCRIPTION,
        version=version(NAME),
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.options = options
    app.state.metrics = metrics
    app.state.uploads = Places("requests with files", options.max_uploads, max(1, options.max_uploads // 8))
    app.state.streams = Places("event streams", options.max_streams, options.max_streams_per_caller)
    add_error_handlers(app)
    add_openai_error_handlers(app)
    for routes in (events, reads, smelts, documents, batches, notifications, callbacks, openai, health, package, page):
        app.include_router(routes.router)
    # The last one that is added is the outermost.
    app.add_middleware(BodyLimits, max_upload_bytes=options.max_upload_bytes)
    if options.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "Content-Disposition", SMELT_ID_HEADER],
        )
    app.add_middleware(Requests, metrics=metrics)
    return app
