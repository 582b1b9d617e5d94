"""Suppression of the client library's log records about smelt's sockets.

The library logs each lost socket as an error, and quotes the messages that it sends, receives and cannot parse, with
tokens and transcripts. `smelt.backend.realtime` logs the state of its sockets itself.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LOGGERS: Final = ("realtime._async.client", "realtime._async.channel", "realtime._async.timer", "websockets.client")
# Tasks and transports inherit the context in which a socket is opened: sockets of the app itself are still logged.
_is_quiet: Final = ContextVar("smelt_quiet_client_logs", default=False)


class _NotQuiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_quiet.get()


_not_quiet: Final = _NotQuiet()
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_not_quiet)


@contextmanager
def quiet_client_logs() -> Iterator[None]:
    """Suppress the client library's log records of calls, sockets and tasks that start inside."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)
