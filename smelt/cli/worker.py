"""`smelt worker`: claim smelts and work on them until told to stop."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, NoReturn
from uuid import uuid4

import typer

from smelt.cli.logs import write_logs
from smelt.cli.output import Exit, exit_code, run_to_exit_code
from smelt.errors import SettingsError, SmeltError, Unauthorized
from smelt.settings import LogSettings, ProjectSettings, WorkerSettings

if TYPE_CHECKING:
    from smelt.processor.options import WorkerOptions

logger = logging.getLogger(__name__)


def worker(
    once: Annotated[bool, typer.Option("--once", help="Work on what is there, then leave.")] = False,
) -> None:
    """Run a worker: it claims pending smelts, transcribes them and reports how far it is."""
    # Before there is anything to clean up, so that Ctrl-C ends it at once; `_work` raises what is missing.
    with suppress(ModuleNotFoundError):
        import_module("smelt.processor.worker")
    # The runner is not closed: that would wait for the threads.
    _exit_now(run_to_exit_code(_worker(once), asyncio.Runner()))


def _exit_now(code: Exit) -> NoReturn:
    """End this process, whatever its threads are at.

    All smelts are settled or given back by now, and nobody wants what a thread would still say: the model may be in the
    middle of a window that takes it minutes.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _worker(once: bool) -> Exit:
    logs = LogSettings.read()
    write_logs(logs)
    try:
        return await _work(once)
    except SmeltError as exc:
        if logs.log_format == "text":
            raise
        # Programs that read the log want nothing else in it.
        logger.critical("%s", exc)
        return exit_code(exc)


async def _work(once: bool) -> Exit:
    from smelt.backend.project import Project
    from smelt.processor.worker import SHUTDOWN_TIMEOUT_S, Worker

    project_settings = ProjectSettings.read()
    options = worker_options(WorkerSettings.read())
    stop = asyncio.Event()
    received = _drain_on_signals(stop, drain_s=options.drain_s, leave_s=SHUTDOWN_TIMEOUT_S)
    async with Project(project_settings.require_url(), project_settings.require_worker_key()) as project:
        logger.info("worker %s works for %s", options.worker_id, project.url)
        try:
            await Worker(project, options).run(once=once, stop=stop)
        except Unauthorized as exc:
            raise SettingsError(f"SUPABASE_SERVICE_ROLE_KEY is not a worker's: {exc}") from exc
    return Exit.INTERRUPTED if signal.SIGINT in received else Exit.DONE


def worker_options(settings: WorkerSettings) -> "WorkerOptions":
    """The options of a worker in this process, as the environment says."""
    from smelt.processor.options import WorkerOptions

    key = settings.llm_api_key
    return WorkerOptions(
        # The pid tells an operator which process, the rest that it is not one of yesterday's.
        worker_id=f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}",
        model=settings.model,
        device=settings.device,
        compute_type=settings.compute_type,
        model_idle_s=settings.model_idle_s,
        batch_size=settings.batch_size,
        beam_size=settings.beam_size,
        word_times=settings.word_times,
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
    )


def _drain_on_signals(stop: asyncio.Event, *, drain_s: float, leave_s: float) -> set[signal.Signals]:
    """The first SIGTERM or Ctrl-C drains; a second one ends at once, which still gives back what was claimed.

    Both end in time, also when the project does not answer. Return the set of the signals received so far.
    """
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    received: set[signal.Signals] = set()

    def on_signal(number: signal.Signals) -> None:
        received.add(number)
        if stop.is_set() and main is not None:
            main.cancel()
            loop.call_later(leave_s, give_up)
        else:
            loop.call_later(max(drain_s, leave_s), give_up)
        stop.set()

    def give_up() -> None:
        logger.warning("the project does not answer: what is not given back is claimed again when its lease runs out")
        _exit_now(Exit.UNREACHABLE)

    loop.add_signal_handler(signal.SIGTERM, on_signal, signal.SIGTERM)
    # A background job of a script ignores Ctrl-C, which is for what runs in front of it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGINT, on_signal, signal.SIGINT)
    return received
