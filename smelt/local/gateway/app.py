"""The HTTP server of the embedded stack: PostgREST, Auth, Storage and Realtime behind one origin.

It imitates the platform's gateway: the same paths, keys, CORS headers, and errors for missing keys.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import httpx
import psycopg
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from smelt.local.auth import AuthStore, create_auth
from smelt.local.gateway.config import GatewayConfig
from smelt.local.gateway.edge.api_keys import ApiKeys
from smelt.local.gateway.edge.error_logging import LogServerErrors
from smelt.local.gateway.edge.loopback import LoopbackOnly, origin_of
from smelt.local.gateway.edge.not_found import not_found
from smelt.local.gateway.edge.rest_proxy import RestProxy, Upstream
from smelt.local.http import AnyPathMount
from smelt.local.realtime import Realtime, RealtimeOptions, create_routes
from smelt.local.storage import Database, FileStore, UnfinishedUploads, create_storage

logger = logging.getLogger(__name__)

METHODS: Final = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT")
EXPOSED_HEADERS: Final = (
    # Those of PostgREST, then those of Auth and resumable uploads; browsers hide all others from scripts.
    *("Content-Encoding", "Content-Location", "Content-Range", "Content-Type", "Date", "Location", "Server"),
    *("Transfer-Encoding", "Range-Unit", "X-Total-Count", "Link", "X-Supabase-Api-Version"),
    *("Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Defer-Length", "Upload-Expires"),
    *("Upload-Length", "Upload-Metadata", "Upload-Offset"),
)
# Reached by links and redirects, which carry no key.
KEYLESS_AUTH_PATHS: Final = (
    "/auth/v1/.well-known/jwks.json",
    "/auth/v1/verify",
    "/auth/v1/callback",
    "/auth/v1/authorize",
)

POOL_SIZE: Final = 8
HEALTH_TIMEOUT_S: Final = 3.0


def create_app(config: GatewayConfig) -> Starlette:
    """Return the gateway; it opens its pools on startup, when Postgres and PostgREST must be running."""
    services = _Services(config)
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=METHODS,
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    app = Starlette(
        routes=services.routes(),
        exception_handlers={HTTPException: not_found},
        middleware=[
            Middleware(LoopbackOnly, hosts=config.allowed_hosts, origins=_allowed_origins(config)),
            cors,
            Middleware(LogServerErrors),
        ],
        lifespan=services.running,
    )
    app.router.redirect_slashes = False
    return app


def _allowed_origins(config: GatewayConfig) -> tuple[str, ...]:
    return (*config.allowed_origins, origin_of(config.auth.site_url))


class _Services:
    """The services behind the gateway, with their pools and files."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._rest = Upstream(config.postgrest_url)
        # Triggers on storage.objects can use these schemas without qualification, as on the platform.
        self._storage_pool = _pool(config.storage_dsn, options="-c search_path=storage,public,extensions")
        self._auth_pool = _pool(config.auth_dsn)
        self._database = Database(self._storage_pool)
        self._files = FileStore(config.storage_dir)
        # The folder of a bucket never starts with a dot.
        self._unfinished = UnfinishedUploads(config.storage_dir / ".resumable")
        self._realtime = Realtime(
            RealtimeOptions(
                keys=config.keys,
                realtime_dsn=config.realtime_dsn,
                authenticator_dsn=config.authenticator_dsn,
                max_events_per_s=config.realtime.max_events_per_s,
                max_joins_per_s=config.realtime.max_joins_per_s,
            )
        )

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the services, at the paths of the platform's gateway."""
        config, keys = self._config, self._config.keys
        issuer = f"{config.api_url}/auth/v1"
        rest = RestProxy(self._rest, config.max_body_bytes)
        auth = create_auth(AuthStore(self._auth_pool), keys, issuer=issuer, rules=config.auth)
        storage = create_storage(self._database, self._files, self._unfinished, keys, config.file_size_limit)
        return [
            AnyPathMount("/rest/v1", ApiKeys(rest, keys, required=True)),
            AnyPathMount("/auth/v1", ApiKeys(auth, keys, required=True, keyless_paths=KEYLESS_AUTH_PATHS)),
            # Public and signed URLs need no key; Storage checks tokens itself.
            AnyPathMount("/storage/v1", ApiKeys(storage, keys, required=False)),
            Route("/health", self._health),
            *create_routes(self._realtime),
        ]

    @asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Keep the pools and Realtime open while the application runs."""
        async with AsyncExitStack() as exit_stack:
            await exit_stack.enter_async_context(self._rest)
            await exit_stack.enter_async_context(self._storage_pool)
            await exit_stack.enter_async_context(self._auth_pool)
            await self._sweep()
            await exit_stack.enter_async_context(self._unfinished.expiring())
            await exit_stack.enter_async_context(self._realtime.running())
            yield

    async def _health(self, request: Request) -> Response:
        """Report whether Postgres and PostgREST respond; needs no key, so that scripts can wait for a stack."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S), self._storage_pool.connection() as connection:
                await connection.execute("select 1")
                response = await self._rest.send("HEAD")
                await response.aclose()
                is_healthy = response.is_success
        except (TimeoutError, psycopg.Error, httpx.HTTPError):
            is_healthy = False
        return JSONResponse({"healthy": is_healthy}, 200 if is_healthy else 503)

    async def _sweep(self) -> None:
        """Remove the leftovers of a crash: incomplete files, and files without a row."""
        versions = await self._database.versions()
        await asyncio.to_thread(self._files.prepare)
        await asyncio.to_thread(self._unfinished.restore, versions)
        swept = await asyncio.to_thread(self._files.sweep, versions)
        if swept:
            logger.warning("removed %s files without an object", swept)


def _pool(dsn: str, **parameters: str) -> AsyncConnectionPool:
    # Check connections on checkout: Postgres may have been restarted.
    return AsyncConnectionPool(
        dsn,
        kwargs=parameters,
        min_size=1,
        max_size=POOL_SIZE,
        open=False,
        check=AsyncConnectionPool.check_connection,
    )
