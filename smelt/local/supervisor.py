"""One process that owns a stack: Postgres, PostgREST and the gateway live and die with it.

    python -m smelt.local.supervisor --folder F --project F --cache F [--api-port N] [--db-port N] ...

It says one line of JSON on its standard output, `{"ready": {...}}` or `{"error": "...", "passing": false}`, and ends
by SIGTERM, SIGINT or SIGHUP, or when its standard input closes if it was told so. Without `--project` it owns a
cluster: each line of its standard input is a request, each answered by another such line; see `cloning`.
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

from smelt.local import cloning, running
from smelt.local.errors import LocalError, LocalTransientError

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FAILED: Final = 1


def main() -> None:
    """Run a stack in this process until told to end."""
    arguments = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # They would log each request and socket, with the key in its address.
    for chatty in ("httpx", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        sys.exit(runner.run(_main(arguments)))


async def _main(arguments: argparse.Namespace) -> int:
    job = _job(arguments)
    # A stack that stays must not hold on to the folder that it was started from.
    os.chdir("/")
    task = asyncio.create_task(job)
    _end_on_request(task, watch_input=arguments.until_input_closes and arguments.project is not None)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except LocalError as exc:
        _say_error(exc)
        return FAILED
    return 0


def _job(arguments: argparse.Namespace) -> Coroutine[Any, Any, None]:
    folder, cache = arguments.folder.resolve(), arguments.cache.resolve()
    postgrest = arguments.postgrest and arguments.postgrest.resolve()
    if arguments.project is None:
        return cloning.run(
            cloning.ClusterOptions(folder=folder, cache=cache, postgrest=postgrest), _requests(), _say_ready, _say_error
        )
    options = running.StackOptions(
        folder=folder,
        project=arguments.project.resolve(),
        cache=cache,
        api_port=arguments.api_port,
        db_port=arguments.db_port,
        postgrest=postgrest,
        ephemeral=arguments.ephemeral,
    )
    return running.run(options, lambda state: _say_ready(asdict(state)))


def _end_on_request(task: asyncio.Task[None], *, watch_input: bool) -> None:
    """Cancel the task at the first signal, or when whoever started us is gone."""
    loop = asyncio.get_running_loop()
    asked = False

    def ask() -> None:
        # Once: a second request must not interrupt the cleaning up.
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in ENDING:
        loop.add_signal_handler(number, ask)
    if watch_input:
        # Nobody ever writes there: readable means closed.
        loop.add_reader(sys.stdin.fileno(), ask)


async def _requests() -> AsyncIterator[Any]:
    """The lines of the standard input, until whoever started us is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


def _say_ready(state: dict[str, Any]) -> None:
    _say({"ready": state})


def _say_error(error: LocalError) -> None:
    _say({"error": str(error), "passing": isinstance(error, LocalTransientError)})


def _say(message: dict[str, object]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        # Nobody is listening any more; what follows from that is not decided here.
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
