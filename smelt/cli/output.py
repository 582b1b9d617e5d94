"""Consoles, JSON lines, errors and exit codes, shared by all commands.

Names, transcripts, notes and logs contain text of other people. Commands print it with `OUT`, `ERR`, `print_json`,
`print_document` or a formatter of `smelt.cli.logs`, so that none of its control characters reaches a terminal.
"""

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from enum import IntEnum
from typing import Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from smelt.errors import PermanentError, RequestRejected, SmeltError, SmeltFailed, Unavailable

T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes of `smelt`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


_CONTROLS: Final = {
    code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in ("\n", "\t")
}
"""C0, DEL and C1, which terminals execute."""
_DIRECTIONS: Final = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that reorder the text around them."""


def visible_controls(text: str) -> str:
    r"""Escape control characters, except newline and tab, as in JSON (`\u001b`)."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def visible(text: str) -> str:
    r"""Escape control characters and those that change the text direction, as in JSON."""
    return visible_controls(text).translate(_DIRECTIONS)


class VisibleConsole(Console):
    """A console that escapes control characters in the printed text, but not its own (rich only drops some)."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, then escape the text of its segments: after markup and Markdown are resolved."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


OUT: Final = VisibleConsole(highlight=False)
ERR: Final = VisibleConsole(stderr=True, highlight=False)


ADVICE: Final = {
    "too_many_open": "`smelt list --open` lists those of a signed-in user; `smelt cancel ID` ends one.",
    "which_file": "`--file 1` selects the first one.",
}
"""Added to an error of this code: what to do about it on the command line."""


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON object as a line, and flush: a program may be waiting for it."""
    print(visible(json.dumps(value, ensure_ascii=False, default=str)), flush=True)


def print_json_error(code: str, message: str) -> None:
    """Print an error as one JSON line, with a `code` for programs and a sentence for people."""
    from smelt.contract.lines import ErrorLine

    print_json({"event": "error", **ErrorLine(code=code, message=message).model_dump()})


def print_document(text: str) -> None:
    """Print a transcript or notes as stored; Hebrew and Arabic keep their direction marks."""
    print(visible_controls(text), end="")


def exit_code(error: SmeltError) -> Exit:
    """Return the exit code of an error."""
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
    """Print an error to stderr, for people."""
    ERR.print(Text.assemble(("smelt:", "bold red"), f" {error}"), soft_wrap=True)


def ask(prompt: Callable[[], T]) -> T:
    """Call a function that prompts on the terminal; raise `typer.Abort` at Ctrl-C or Ctrl-D."""
    previous = signal.getsignal(signal.SIGINT)
    try:
        # The handler of `run` cancels the command, which would have an effect only after the reply.
        if callable(previous):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return prompt()
    finally:
        signal.signal(signal.SIGINT, previous)


def run_in_thread(command: Callable[..., Exit], *arguments: object) -> NoReturn:
    """Run a command that awaits nothing, as `run` does."""
    run(asyncio.to_thread(command, *arguments))


def run(command: Coroutine[Any, Any, Exit], *, as_json: bool = False) -> NoReturn:
    """Run a command and exit with its code; print an error as one sentence, or as one line of JSON."""
    with asyncio.Runner() as runner:
        code = run_to_exit_code(command, runner, as_json=as_json)
    raise typer.Exit(code)


def run_to_exit_code(command: Coroutine[Any, Any, Exit], runner: asyncio.Runner, *, as_json: bool = False) -> Exit:
    """Run a command, print its error if it raises one, and return the exit code.

    Ctrl-C cancels the command, so that it can clean up, instead of ending the process.
    """
    runner.get_loop()
    previous = signal.getsignal(signal.SIGINT)
    try:
        if callable(previous):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return runner.run(command)
    except SmeltError as exc:
        return _report_error(exc, as_json=as_json)
    except ModuleNotFoundError as exc:  # Workers, the gateway and the embedded stack need extras.
        from smelt.distribution import install_command

        remedy = f"install all that the commands need with: {install_command('gateway,local,processor')}"
        return _report_error(PermanentError(f"{exc.name} is not installed; {remedy}"), as_json=as_json)
    except typer.Abort:
        ERR.print()  # The cursor is still behind the prompt.
        return Exit.INTERRUPTED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, previous)
        command.close()  # If Ctrl-C came before its start, Python would warn that it was never awaited.


def _report_error(error: SmeltError, *, as_json: bool) -> Exit:
    code = exit_code(error)
    if isinstance(error, RequestRejected) and error.code in ADVICE:
        error = RequestRejected(error.code, f"{error} {ADVICE[error.code]}")
    if as_json:
        print_json_error(getattr(error, "code", code.name.lower()), str(error))
    else:
        print_error(error)
    return code
