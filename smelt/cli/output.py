"""What every command shares: the consoles, JSON lines and exit codes."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from enum import IntEnum
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from smelt.distribution import install_command
from smelt.errors import Refused, SmeltError, SmeltFailed, Unavailable


class Exit(IntEnum):
    """What the exit code of `smelt` says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


OUT: Final = Console(highlight=False)
ERR: Final = Console(stderr=True, highlight=False)


def print_json(value: Mapping[str, object]) -> None:
    """One JSON object on a line of its own, flushed: a program may be waiting for it."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def exit_code(error: SmeltError) -> Exit:
    """The exit code that tells a script what kind of error this was."""
    match error:
        case SmeltFailed():
            return Exit.FAILED
        case Unavailable():
            return Exit.UNREACHABLE
        case Refused():
            return Exit.USAGE
        case _:
            return Exit.FAILED


def print_error(error: SmeltError) -> None:
    """The sentence of an error on stderr, for people."""
    ERR.print(Text.assemble(("smelt:", "bold red"), f" {error}"), soft_wrap=True)


def run(command: Coroutine[Any, Any, Exit], *, as_json: bool = False) -> NoReturn:
    """Run a command to its end and leave with its exit code; an error becomes one sentence (or one line of JSON)."""
    raise typer.Exit(ending(lambda: asyncio.run(command), as_json=as_json))


def ending(command: Callable[[], Exit], *, as_json: bool = False) -> Exit:
    """The exit code of a command that is run now, after what there is to say of its error."""
    try:
        return command()
    except SmeltError as exc:
        return _tell(exc, as_json=as_json)
    except ModuleNotFoundError as exc:  # Workers and the embedded stack are extras of the package.
        advice = f"to install everything that commands need: {install_command('processor,local')}"
        return _tell(Refused(f"{exc.name} is not installed; {advice}"), as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED


def _tell(error: SmeltError, *, as_json: bool) -> Exit:
    code = exit_code(error)
    if as_json:
        print_json({"event": "error", "code": getattr(error, "code", code.name.lower()), "message": str(error)})
    else:
        print_error(error)
    return code
