"""One process that owns a stack: Postgres, PostgREST and the gateway live and die with it.

    python -m smelt.local.supervisor --folder F --project F --cache F [--api-port N] [--db-port N] ...

It says one line of JSON on its standard output, `{"ready": {...}}` or `{"error": "...", "passing": false}`, and ends
by SIGTERM, SIGINT or SIGHUP, or when its standard input closes if it was told so.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from smelt.local.errors import LocalError, LocalUnavailable
from smelt.local.running import StackOptions, run
from smelt.local.state import StackState

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
    options = _options(arguments)
    # A stack that stays must not hold on to the folder that it was started from.
    os.chdir("/")
    task = asyncio.create_task(run(options, _announce))
    _end_on_request(task, watch_input=arguments.until_input_closes)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except LocalError as exc:
        _say({"error": str(exc), "passing": isinstance(exc, LocalUnavailable)})
        return FAILED
    return 0


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


def _announce(state: StackState) -> None:
    _say({"ready": json.loads(state.dump())})


def _say(message: dict[str, object]) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        # Nobody is listening any more; what follows from that is not decided here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _options(arguments: argparse.Namespace) -> StackOptions:
    return StackOptions(
        folder=arguments.folder.resolve(),
        project=arguments.project.resolve(),
        cache=arguments.cache.resolve(),
        api_port=arguments.api_port,
        db_port=arguments.db_port,
        postgrest=arguments.postgrest and arguments.postgrest.resolve(),
        throw_away=arguments.throw_away,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="smelt.local.supervisor")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--api-port", type=int, default=0)
    parser.add_argument("--db-port", type=int, default=0)
    parser.add_argument("--postgrest", type=Path)
    parser.add_argument("--throw-away", action="store_true")
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
