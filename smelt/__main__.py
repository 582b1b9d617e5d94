"""`smelt` and `python -m smelt`: the command line, behind a guard that Ctrl-C finds from the first import on."""

import os
import signal
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line; until a command runs, Ctrl-C ends this process at once.

    A `KeyboardInterrupt` in the middle of an import would be printed with a traceback, or be lost in a library.
    """
    # Background jobs of scripts ignore SIGINT, and go on doing so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from smelt import cli

    try:
        cli.main()
    finally:
        # The command has ended as it has; what is left is Python's.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
