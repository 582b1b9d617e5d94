"""The application: its routes, and what they share while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from smelt.backend.pool import Pool
from smelt.distribution import NAME
from smelt.gateway.callers import CALL_TIMEOUT_S, Callers
from smelt.gateway.clients import Clients
from smelt.gateway.errors import add_error_handlers
from smelt.gateway.limits import MAX_BODY_BYTES
from smelt.gateway.options import GatewayOptions
from smelt.gateway.routes import events, health
from smelt.gateway.streams.hub import Hub

MAX_CONNECTIONS = 100
"""Connections to the project, which all callers share."""

DESCRIPTION = """
Transcription jobs over HTTP. Each request carries the caller's own Supabase token, and the project's row level security
decides. Errors have one shape: `{"error": sentence, "code": stable, "details"?}`.
"""


def create_app(options: GatewayOptions) -> FastAPI:
    """Return the gateway of one project."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        pool = Pool(None, CALL_TIMEOUT_S, max_connections=MAX_CONNECTIONS)
        async with aclosing(pool), aclosing(Clients(pool)) as clients:
            app.state.options = options
            app.state.callers = Callers(options, pool)
            app.state.clients = clients
            app.state.drain = drain = asyncio.Event()
            async with Hub(
                clients,
                drain,
                max_streams=options.max_streams,
                max_streams_per_caller=options.max_streams_per_caller,
            ) as app.state.hub:
                yield

    app = FastAPI(
        title="smelt",
        description=DESCRIPTION,
        version=version(NAME),
        lifespan=running,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=MAX_BODY_BYTES,
    )
    add_error_handlers(app)
    if options.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID"],
            expose_headers=["ETag", "Location", "Retry-After"],
        )
    for routes in (health, events):
        app.include_router(routes.router)
    return app
