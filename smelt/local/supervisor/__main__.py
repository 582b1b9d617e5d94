"""The process that owns a stack: Postgres, PostgREST and the gateway start and stop with it.

    python -m smelt.local.supervisor --folder F --project F --cache F [--api-port N] [--db-port N] ...

It writes one line of JSON to standard output, `{"ready": {...}}` or `{"error": "...", "transient": false}`, and exits
on SIGTERM, SIGINT or SIGHUP, or with `--until-input-closes` when standard input closes. Without `--project` it owns a
cluster: each line of standard input is a request, and gets one such line as its reply; see `cluster`.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from smelt.local.errors import LocalError, LocalTransientError
from smelt.local.supervisor import cluster, single

TERMINATION_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EXIT_FAILURE: Final = 1


def main() -> None:
    """Run a stack or a cluster in this process until it is signaled to stop."""
    arguments = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # At INFO they log each request and websocket with its URL, which contains the key.
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        sys.exit(runner.run(_main(arguments)))


async def _main(arguments: argparse.Namespace) -> int:
    job = _create_job(arguments)
    # A stack in the background must not keep its start folder busy.
    os.chdir("/")
    task = asyncio.create_task(job)
    _cancel_on_request(task, watch_input=arguments.until_input_closes and arguments.project is not None)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except LocalError as exc:
        _report_error(exc)
        return EXIT_FAILURE
    return 0


def _create_job(arguments: argparse.Namespace) -> Coroutine[Any, Any, None]:
    folder, cache = arguments.folder.resolve(), arguments.cache.resolve()
    postgrest = arguments.postgrest and arguments.postgrest.resolve()
    if arguments.project is None:
        return cluster.run(
            cluster.ClusterOptions(folder=folder, cache=cache, postgrest=postgrest),
            _requests(),
            _report_ready,
            _report_error,
        )
    options = single.StackOptions(
        folder=folder,
        project=arguments.project.resolve(),
        cache=cache,
        api_port=arguments.api_port,
        db_port=arguments.db_port,
        postgrest=postgrest,
        ephemeral=arguments.ephemeral,
    )
    return single.run(options, lambda state: _report_ready(asdict(state)))


def _cancel_on_request(task: asyncio.Task[None], *, watch_input: bool) -> None:
    """Cancel the task at the first signal, or when the parent process has exited."""
    loop = asyncio.get_running_loop()
    is_cancelled = False

    def cancel() -> None:
        # Only once: a second signal must not interrupt the cleanup.
        nonlocal is_cancelled
        if not is_cancelled:
            is_cancelled = True
            task.cancel()

    for number in TERMINATION_SIGNALS:
        loop.add_signal_handler(number, cancel)
    if watch_input:
        # Nothing is ever written to it, so readable means closed.
        loop.add_reader(sys.stdin.fileno(), cancel)


async def _requests() -> AsyncIterator[Any]:
    """Yield the lines of standard input until the parent process closes it or exits."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


def _report_ready(state: dict[str, Any]) -> None:
    _write_line({"ready": state})


def _report_error(error: LocalError) -> None:
    _write_line({"error": str(error), "transient": isinstance(error, LocalTransientError)})


def _write_line(message: dict[str, object]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        # The parent no longer reads; signals and standard input decide about stopping, not this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="smelt.local.supervisor")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--api-port", type=int, default=0)
    parser.add_argument("--db-port", type=int, default=0)
    parser.add_argument("--postgrest", type=Path)
    parser.add_argument("--ephemeral", action="store_true")
    parser.add_argument("--until-input-closes", action="store_true")
    return parser.parse_args()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
