"""What every command shares: the consoles, JSON lines and exit codes.

Names, transcripts, notes and logs hold text of strangers. A command prints it with `OUT`, `ERR`, `print_json`,
`print_document` or a formatter of `smelt.cli.logs`, so that no control character of theirs reaches a terminal.
"""

import asyncio
import json
import signal
from collections.abc import Coroutine, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final, NoReturn

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from smelt.contract.lines import ErrorLine
from smelt.distribution import install_command
from smelt.errors import PermanentError, RequestRejected, SmeltError, SmeltFailed, Unavailable


class Exit(IntEnum):
    """What the exit code of `smelt` says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


_CONTROLS: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in ("\n", "\t")
}
"""C0, DEL and C1, which terminals obey."""
_DIRECTIONS: Final = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that reorder the text around them."""


def visible_controls(text: str) -> str:
    r"""Return the text with each control character, except newline and tab, as its escape in JSON, such as `\u001b`."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def visible(text: str) -> str:
    r"""Return the text with control characters, and those that change its direction, as their escapes in JSON."""
    return visible_controls(text).translate(_DIRECTIONS)


class VisibleConsole(Console):
    """A console that escapes the control characters of what it prints (rich drops BEL, BS, VT, FF, CR), not its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object; the text of its segments is made visible, after markup and Markdown are resolved."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


OUT: Final = VisibleConsole(highlight=False)
ERR: Final = VisibleConsole(stderr=True, highlight=False)


OPEN_ADVICE: Final = "`smelt list --open` shows those of a signed-in user; `smelt cancel ID` ends one."


def print_json(value: Mapping[str, object]) -> None:
    """One JSON object on a line of its own, flushed: a program may be waiting for it."""
    print(visible(json.dumps(value, ensure_ascii=False, default=str)), flush=True)


def print_json_error(code: str, message: str) -> None:
    """Print an error as one line: `code` is for programs, the sentence for people."""
    print_json({"event": "error", **ErrorLine(code=code, message=message).model_dump()})


def print_document(text: str) -> None:
    """Print a transcript or notes as they are saved; Hebrew and Arabic keep their direction marks."""
    print(visible_controls(text), end="")


def exit_code(error: SmeltError) -> Exit:
    """The exit code that tells a script what kind of error this was."""
    match error:
        case SmeltFailed():
            return Exit.FAILED
        case Unavailable():
            return Exit.UNREACHABLE
        case PermanentError():
            return Exit.USAGE
        case _:
            return Exit.FAILED


def print_error(error: SmeltError) -> None:
    """The sentence of an error on stderr, for people."""
    ERR.print(Text.assemble(("smelt:", "bold red"), f" {error}"), soft_wrap=True)


def run(command: Coroutine[Any, Any, Exit], *, as_json: bool = False) -> NoReturn:
    """Run a command to its end and leave with its exit code; an error becomes one sentence (or one line of JSON)."""
    with asyncio.Runner() as runner:
        code = run_to_exit_code(command, runner, as_json=as_json)
    raise typer.Exit(code)


def run_to_exit_code(command: Coroutine[Any, Any, Exit], runner: asyncio.Runner, *, as_json: bool = False) -> Exit:
    """Run a command and return its exit code, after what there is to say of its error.

    Meanwhile Ctrl-C cancels the command, which then cleans up, instead of ending the process.
    """
    runner.get_loop()
    outside = signal.getsignal(signal.SIGINT)
    try:
        if callable(outside):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return runner.run(command)
    except SmeltError as exc:
        return _report_error(exc, as_json=as_json)
    except ModuleNotFoundError as exc:  # Workers and the embedded stack are extras of the package.
        advice = f"to install everything that commands need: {install_command('processor,local')}"
        return _report_error(PermanentError(f"{exc.name} is not installed; {advice}"), as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, outside)
        command.close()  # Python would warn of one that Ctrl-C kept from its start.


def _report_error(error: SmeltError, *, as_json: bool) -> Exit:
    code = exit_code(error)
    if isinstance(error, RequestRejected) and error.code == "too_many_open":
        error = RequestRejected(error.code, f"{error} {OPEN_ADVICE}")
    if as_json:
        print_json_error(getattr(error, "code", code.name.lower()), str(error))
    else:
        print_error(error)
    return code
