"""Opens ports on the loopback interface."""

import errno
import socket
from typing import Final

from smelt.local.errors import LocalPermanentError

HOST: Final = "127.0.0.1"


def listen(port: int, flag: str) -> socket.socket:
    """Listen on a port, or on any free one for 0.

    Raises `LocalPermanentError` if the port is in use; the message names the command's `flag`.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError as exc:
        listener.close()
        raise LocalPermanentError(_error_message(port, flag, exc)) from exc
    listener.setblocking(False)
    return listener


def choose(port: int, flag: str) -> int:
    """Return this port, or any free one for 0; raise `LocalPermanentError` if it is in use."""
    with listen(port, flag) as listener:
        chosen: int = listener.getsockname()[1]
        return chosen


def _error_message(port: int, flag: str, reason: OSError) -> str:
    if reason.errno == errno.EADDRINUSE:
        return f"port {port} is in use; stop the process that listens on it, or choose another port with {flag}"
    return f"port {port} cannot be used ({reason.strerror}); choose another port with {flag}"
