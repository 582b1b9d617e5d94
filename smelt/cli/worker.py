"""`smelt worker`: claim and process smelts until a signal stops it."""

import asyncio
import logging
import os
import signal
import socket
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final, NoReturn
from uuid import uuid4

import typer

from smelt.cli.logs import write_logs
from smelt.cli.output import Exit, exit_code, run_to_exit_code
from smelt.errors import SettingsError, SmeltError, Unauthorized

if TYPE_CHECKING:
    from smelt.processor.options import DispatchOptions, WorkerOptions
    from smelt.processor.speech.shared import SharedModel
    from smelt.settings import WorkerSettings

logger = logging.getLogger(__name__)

# Only children of the worker import them.
_DECODING_LIBRARIES: Final = ("av",)
_CHILD_LIBRARIES: Final = (*_DECODING_LIBRARIES, "faster_whisper")


def worker(
    once: Annotated[bool, typer.Option("--once", help="Process the pending smelts, then exit.")] = False,
    dispatch_to: Annotated[
        str | None,
        typer.Option("--dispatch-to", metavar="URL", help="Let an external service at this address transcribe."),
    ] = None,
) -> None:
    """Run a worker, which processes smelts and reports progress."""
    # The runner is not closed: closing it would wait for the threads.
    _exit_now(run_to_exit_code(_worker(once, dispatch_to), asyncio.Runner()))


def _exit_now(code: Exit) -> NoReturn:
    """Exit without waiting for threads.

    All smelts are settled or released by now, so the results of threads are not needed; the model may need minutes for
    its current window.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _worker(once: bool, dispatch_to: str | None) -> Exit:
    from smelt.settings import LogSettings

    logs = LogSettings.read()
    write_logs(logs)
    try:
        return await _work(once, dispatch_to)
    except SmeltError as exc:
        if logs.log_format == "text":
            raise
        # A JSON log must contain nothing but JSON.
        logger.critical("%s", exc)
        return exit_code(exc)


async def _work(once: bool, dispatch_to: str | None) -> Exit:
    from smelt.processor.speech.shared import create_model
    from smelt.settings import ProjectSettings, WorkerSettings

    project_settings, settings = ProjectSettings.read(), WorkerSettings.read()
    if dispatch_to is not None:
        settings = settings.model_copy(update={"dispatch_url": dispatch_to})
    for module in _CHILD_LIBRARIES if settings.dispatch_url is None else _DECODING_LIBRARIES:
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
    options = worker_options(settings)
    url, key = project_settings.require_url(), project_settings.require_worker_key()
    model = create_model(options)
    if options.dispatch is None:
        model.start()
    # The model is loaded meanwhile; in a thread, so that its child is started and gets its options.
    await asyncio.to_thread(import_module, "smelt.processor.worker")
    return await _claim_until_stopped(url, key, options, model, once=once)


async def _claim_until_stopped(
    url: str, key: str, options: "WorkerOptions", model: "SharedModel", *, once: bool
) -> Exit:
    from smelt.backend.project import Project
    from smelt.processor.worker import SHUTDOWN_TIMEOUT_S, Worker

    stop = asyncio.Event()
    received = _drain_on_signals(stop, drain_s=options.drain_s, shutdown_timeout_s=SHUTDOWN_TIMEOUT_S)
    async with Project(url, key) as project:
        logger.info("worker %s processes smelts of %s", options.worker_id, project.url)
        try:
            await Worker(project, options, model).run(once=once, stop=stop)
        except Unauthorized as exc:
            raise SettingsError(f"SUPABASE_SERVICE_ROLE_KEY does not have the rights of a worker: {exc}") from exc
    return Exit.INTERRUPTED if signal.SIGINT in received else Exit.DONE


def worker_options(settings: "WorkerSettings") -> "WorkerOptions":
    """Return the options of a worker in this process, from the settings."""
    from smelt.processor.options import WorkerOptions

    # The pid identifies the process; the random suffix distinguishes it from earlier ones.
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    return WorkerOptions(worker_id=worker_id, dispatch=dispatch_options(settings), **settings.values_of(WorkerOptions))


def dispatch_options(settings: "WorkerSettings") -> "DispatchOptions | None":
    """Return the options for an external service, None without one; raise `SettingsError` if they are incomplete."""
    from smelt.processor.options import DispatchOptions

    if settings.dispatch_url is None:
        return None
    for variable, url in (("DISPATCH", settings.dispatch_url), ("GATEWAY", settings.gateway_url)):
        if url is None or not url.startswith(("http://", "https://")):
            raise SettingsError(
                f"SMELT_{variable}_URL needs to start with http:// or https://, for an external service"
            )
    if not settings.signing_keys:
        raise SettingsError("SMELT_SIGNING_KEYS is not set: callbacks of an external service need those of the gateway")
    assert settings.gateway_url is not None
    token = settings.dispatch_token
    return DispatchOptions(
        url=settings.dispatch_url,
        token=None if token is None else token.get_secret_value(),
        lease_s=settings.dispatch_lease_s,
        models=settings.dispatch_models,
        gateway_url=settings.gateway_url,
        signing_keys=tuple(key.get_secret_value() for key in settings.signing_keys),
    )


def _drain_on_signals(stop: asyncio.Event, *, drain_s: float, shutdown_timeout_s: float) -> set[signal.Signals]:
    """Drain on the first SIGTERM or Ctrl-C; on the second, release all smelts and exit at once.

    Both are limited in time, even if the project does not respond. Return a set that collects the received signals.
    """
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    received: set[signal.Signals] = set()

    def on_signal(number: signal.Signals) -> None:
        received.add(number)
        if stop.is_set() and main is not None:
            main.cancel()
            loop.call_later(shutdown_timeout_s, give_up)
        else:
            loop.call_later(max(drain_s, shutdown_timeout_s), give_up)
        stop.set()

    def give_up() -> None:
        logger.warning("the project does not respond: unreleased smelts are claimed again when their leases expire")
        _exit_now(Exit.UNREACHABLE)

    loop.add_signal_handler(signal.SIGTERM, on_signal, signal.SIGTERM)
    # In a background job of a script SIGINT is ignored: Ctrl-C is meant for the foreground.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, on_signal, signal.SIGINT)
    return received
