"""Starts PostgREST and the gateway over a database."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from socket import socket

from smelt.local.account import database_account
from smelt.local.database.postgres import REALTIME_ROLE
from smelt.local.gateway.config import GatewayConfig
from smelt.local.gateway.postgrest import Postgrest, PostgrestOptions
from smelt.local.gateway.uvicorn_server import GatewayServer
from smelt.local.keys import Keys
from smelt.local.processes import ports
from smelt.local.project import ProjectFiles
from smelt.local.supervisor.restart import attempts


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """The project and the database to serve.

    `dsn` returns the connection string for a role; `program` and `log` are the binary and the log file of PostgREST.
    """

    project: ProjectFiles
    dsn: Callable[[str], str]
    storage: Path
    program: Path
    log: Path


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running API."""

    url: str
    postgrest: Postgrest
    gateway: GatewayServer


async def serve(options: ApiOptions, listener: socket, exit_stack: AsyncExitStack) -> Api:
    """Start the API and stop it when `exit_stack` closes; raise `LocalTransientError` if the start fails."""
    # Importing the gateway takes a moment; do it while PostgREST starts.
    loading = asyncio.create_task(asyncio.to_thread(load_gateway))
    url = f"http://{ports.HOST}:{listener.getsockname()[1]}"
    postgrest = await _start_postgrest(options, url, exit_stack)
    await loading
    gateway = await _start_gateway(_config(options, url, postgrest.url), listener, exit_stack)
    return Api(url=url, postgrest=postgrest, gateway=gateway)


def load_gateway() -> None:
    """Import the servers behind the gateway."""
    import_module("smelt.local.gateway.app")


async def _start_postgrest(options: ApiOptions, url: str, exit_stack: AsyncExitStack) -> Postgrest:
    async for attempt in attempts():
        with attempt:
            server = PostgrestOptions(
                program=options.program,
                dsn=options.dsn("authenticator"),
                # Another process may take the free port first; the next attempt chooses another one.
                port=ports.choose(0, "--api-port"),
                public_url=f"{url}/rest/v1",
                jwt_secret=Keys().jwt_secret,
                project=options.project,
                log=options.log,
                account=database_account(),
            )
            postgrest = Postgrest(server)
            exit_stack.push_async_callback(postgrest.stop)
            await postgrest.start()
    return postgrest


async def _start_gateway(config: GatewayConfig, listener: socket, exit_stack: AsyncExitStack) -> GatewayServer:
    from smelt.local.gateway.app import create_app

    app = create_app(config)
    await exit_stack.enter_async_context(app.router.lifespan_context(app))
    gateway = GatewayServer(app, listener)
    exit_stack.push_async_callback(gateway.stop)
    await gateway.start()
    return gateway


def _config(options: ApiOptions, url: str, postgrest_url: str) -> GatewayConfig:
    return GatewayConfig(
        api_url=url,
        postgrest_url=postgrest_url,
        realtime_dsn=options.dsn(REALTIME_ROLE),
        authenticator_dsn=options.dsn("authenticator"),
        auth_dsn=options.dsn("supabase_auth_admin"),
        storage_dsn=options.dsn("supabase_storage_admin"),
        keys=Keys(opaque_key_lifetime_s=options.project.auth.opaque_key_lifetime_s),
        storage_dir=options.storage,
        file_size_limit=options.project.file_size_limit,
        max_body_bytes=options.project.max_body_bytes,
        allowed_hosts=options.project.allowed_hosts,
        allowed_origins=options.project.allowed_origins,
        auth=options.project.auth,
        realtime=options.project.realtime,
    )
