"""What the client library would log of our sockets goes nowhere.

It calls every lost one an error, and it quotes what it sends, receives and can't read: tokens, and somebody's words.
`smelt.backend.realtime` tells itself what becomes of a socket.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LOGGERS: Final = ("realtime._async.client", "realtime._async.channel", "realtime._async.timer", "websockets.client")
# Tasks and transports have it from whoever opens a socket, so that sockets of the app's own are logged as ever.
_is_ours: Final = ContextVar("smelt_unlogged", default=False)


class _OfOthers(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_ours.get()


_of_others: Final = _OfOthers()
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_of_others)


@contextmanager
def quiet_client_logs() -> Iterator[None]:
    """Whatever is done, opened and started inside is not logged by the client library."""
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)
