"""`smelt worker`: claim and process smelts until a signal stops it."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final, NoReturn
from uuid import uuid4

import typer

from smelt.cli.logs import write_logs
from smelt.cli.output import Exit, exit_code, run_to_exit_code
from smelt.errors import SettingsError, SmeltError, Unauthorized
from smelt.settings import LogSettings, ProjectSettings, WorkerSettings

if TYPE_CHECKING:
    from smelt.processor.options import DispatchOptions, WorkerOptions

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
    """Run a worker, which claims pending smelts, processes them and reports progress."""
    # Import before there is anything to clean up, so that Ctrl-C exits at once; `_work` raises if it is missing.
    with suppress(ModuleNotFoundError):
        import_module("smelt.processor.worker")
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
    from smelt.backend.project import Project
    from smelt.processor.worker import SHUTDOWN_TIMEOUT_S, Worker

    project_settings, settings = ProjectSettings.read(), WorkerSettings.read()
    if dispatch_to is not None:
        settings = settings.model_copy(update={"dispatch_url": dispatch_to})
    for module in _CHILD_LIBRARIES if settings.dispatch_url is None else _DECODING_LIBRARIES:
        if find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
    options = worker_options(settings)
    stop = asyncio.Event()
    received = _drain_on_signals(stop, drain_s=options.drain_s, shutdown_timeout_s=SHUTDOWN_TIMEOUT_S)
    async with Project(project_settings.require_url(), project_settings.require_worker_key()) as project:
        logger.info("worker %s processes smelts of %s", options.worker_id, project.url)
        try:
            await Worker(project, options).run(once=once, stop=stop)
        except Unauthorized as exc:
            raise SettingsError(f"SUPABASE_SERVICE_ROLE_KEY does not have the rights of a worker: {exc}") from exc
    return Exit.INTERRUPTED if signal.SIGINT in received else Exit.DONE


def worker_options(settings: WorkerSettings) -> "WorkerOptions":
    """Return the options of a worker in this process, from the settings."""
    from smelt.processor.options import WorkerOptions

    key = settings.llm_api_key
    return WorkerOptions(
        # The pid identifies the process; the random suffix distinguishes it from earlier ones.
        worker_id=f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}",
        host=settings.host or socket.gethostname(),
        model=settings.model,
        device=settings.device,
        compute_type=settings.compute_type,
        cpu_threads=settings.cpu_threads,
        model_lanes=settings.model_lanes,
        model_idle_s=settings.model_idle_s,
        batch_size=settings.batch_size,
        beam_size=settings.beam_size,
        word_times=settings.word_times,
        speaker_model=settings.speaker_model,
        concurrency=settings.concurrency,
        lease_s=settings.lease_s,
        drain_s=settings.drain_s,
        temp_dir=settings.temp_dir,
        llm_base_url=settings.llm_base_url,
        llm_api_key=None if key is None else key.get_secret_value(),
        llm_model=settings.llm_model,
        llm_context_tokens=settings.llm_context_tokens,
        metrics_host=settings.metrics_host,
        metrics_port=settings.metrics_port,
        webhook_allow_private=settings.webhook_allow_private,
        dispatch=dispatch_options(settings),
    )


def dispatch_options(settings: WorkerSettings) -> "DispatchOptions | None":
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
