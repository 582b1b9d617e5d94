"""What a database gets in front of it: PostgREST and the gateway."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from smelt.local import ports
from smelt.local.account import database_account
from smelt.local.config import GatewayConfig
from smelt.local.keys import Keys
from smelt.local.migrations import ProjectFiles
from smelt.local.postgres import SUPERUSER
from smelt.local.postgrest import Postgrest, PostgrestOptions
from smelt.local.restart import attempts
from smelt.local.serving import GatewayServer


@dataclass(frozen=True, kw_only=True)
class ApiOptions:
    """Of which project, over which database: `dsn` answers how a role connects; `program` and `log` are PostgREST's."""

    project: ProjectFiles
    dsn: Callable[[str], str]
    storage: Path
    program: Path
    log: Path


@dataclass(frozen=True, kw_only=True)
class Api:
    """An API that is being served."""

    url: str
    postgrest: Postgrest
    gateway: GatewayServer


async def serve(options: ApiOptions, listener: socket, exits: AsyncExitStack) -> Api:
    """Serve until `exits` are taken; raise `LocalTransientError` if it does not come up."""
    # It takes a moment to import, while others start.
    loading = asyncio.create_task(asyncio.to_thread(load_gateway))
    postgrest = await _start_postgrest(options, exits)
    await loading
    url = f"http://{ports.HOST}:{listener.getsockname()[1]}"
    gateway = await _start_gateway(_config(options, url, postgrest.url), listener, exits)
    return Api(url=url, postgrest=postgrest, gateway=gateway)


def load_gateway() -> None:
    """Import the servers behind the gateway."""
    import smelt.local.gateway  # noqa: F401


async def _start_postgrest(options: ApiOptions, exits: AsyncExitStack) -> Postgrest:
    async for attempt in attempts():
        with attempt:
            server = PostgrestOptions(
                program=options.program,
                dsn=options.dsn("authenticator"),
                # Any free port may be somebody else's by the time it is taken; then the next one will do.
                port=ports.choose(0, "--api-port"),
                jwt_secret=Keys().jwt_secret,
                project=options.project,
                log=options.log,
                account=database_account(),
            )
            postgrest = Postgrest(server)
            exits.push_async_callback(postgrest.stop)
            await postgrest.start()
    return postgrest


async def _start_gateway(config: GatewayConfig, listener: socket, exits: AsyncExitStack) -> GatewayServer:
    from smelt.local.gateway import create_app

    app = create_app(config)
    await exits.enter_async_context(app.router.lifespan_context(app))
    gateway = GatewayServer(app, listener)
    exits.push_async_callback(gateway.stop)
    await gateway.start()
    return gateway


def _config(options: ApiOptions, url: str, postgrest_url: str) -> GatewayConfig:
    return GatewayConfig(
        api_url=url,
        postgrest_url=postgrest_url,
        admin_dsn=options.dsn(SUPERUSER),
        authenticator_dsn=options.dsn("authenticator"),
        auth_dsn=options.dsn("supabase_auth_admin"),
        storage_dsn=options.dsn("supabase_storage_admin"),
        keys=Keys(opaque_key_lifetime_s=options.project.auth.opaque_key_lifetime_s),
        storage_dir=options.storage,
        file_size_limit=options.project.file_size_limit,
        max_body_bytes=options.project.max_body_bytes,
        auth=options.project.auth,
        realtime=options.project.realtime,
    )
