"""Ports on the loopback interface."""

import errno
import socket
from typing import Final

from smelt.local.errors import LocalPermanentError

HOST: Final = "127.0.0.1"


def listen(port: int, flag: str) -> socket.socket:
    """Listen on a port, 0 for any; raise `LocalPermanentError` naming the command's flag when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1024)
    except OSError as exc:
        listener.close()
        raise LocalPermanentError(_sentence(port, flag, exc)) from exc
    listener.setblocking(False)
    return listener


def choose(port: int, flag: str) -> int:
    """Answer a port that is free now: this one, or any for 0; raise `LocalPermanentError` when it is taken."""
    with listen(port, flag) as listener:
        chosen: int = listener.getsockname()[1]
        return chosen


def _sentence(port: int, flag: str, reason: OSError) -> str:
    if reason.errno == errno.EADDRINUSE:
        return f"port {port} is taken; stop what listens there, or choose another one with {flag}"
    return f"port {port} can't be used ({reason.strerror}); choose another one with {flag}"
