"""`smelt serve`: the HTTP gateway of a project, until a signal stops it."""

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from smelt.cli.logs import write_logs
from smelt.cli.output import Exit, run

if TYPE_CHECKING:
    from smelt.gateway.options import GatewayOptions
    from smelt.gateway.server import GatewayServer
    from smelt.settings import GatewaySettings, ProjectSettings


def serve(
    host: Annotated[str | None, typer.Option("--host", help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="The port; 0 for a free one.")] = None,
) -> None:
    """Serve the HTTP gateway of a project, with event streams."""
    run(_serve(host, port))


async def _serve(host: str | None, port: int | None) -> Exit:
    from smelt.gateway.server import GatewayServer, listen
    from smelt.settings import GatewaySettings, LogSettings, ProjectSettings

    write_logs(LogSettings.read())
    settings = GatewaySettings.read()
    options = gateway_options(settings, ProjectSettings.read())
    listener = listen(settings.gateway_host if host is None else host, settings.gateway_port if port is None else port)
    return await serve_until_signal(GatewayServer(options, listener))


async def serve_until_signal(server: "GatewayServer") -> Exit:
    """Serve until SIGTERM or SIGINT; a second one ends the drain at once."""
    received: set[signal.Signals] = set()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        received.add(number)
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        # In a background job of a script SIGINT is ignored: Ctrl-C is meant for the foreground.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, on_signal, number)
    await server.run_until_stopped()
    return Exit.INTERRUPTED if signal.SIGINT in received else Exit.DONE


def gateway_options(settings: "GatewaySettings", project: "ProjectSettings") -> "GatewayOptions":
    """Return the options of a gateway in this process, from the settings."""
    from smelt.gateway.options import MIB, GatewayOptions
    from smelt.settings import CaptionSettings

    secret = project.service_role_key
    return GatewayOptions(
        url=project.require_url(),
        public_url=settings.public_supabase_url,
        key=project.require_client_key(),
        secret_key=None if secret is None else secret.get_secret_value(),
        signing_keys=tuple(key.get_secret_value() for key in settings.signing_keys),
        allowed_origins=settings.allowed_origins,
        trusted_proxies=settings.trusted_proxies,
        max_upload_bytes=settings.gateway_max_upload_mib * MIB,
        max_uploads=settings.gateway_max_uploads,
        max_streams=settings.gateway_max_streams,
        max_streams_per_caller=settings.gateway_max_streams_per_caller,
        openai_wait_s=settings.openai_wait_s,
        drain_s=settings.drain_s,
        caption_layout=CaptionSettings.read().layout(),
    )
