"""Open files safely in folders that other users can write to."""

import errno
import os
import stat
from collections.abc import Callable

from smelt.pickling import PicklableError

# Raised for a symbolic link (ELOOP), and for a named pipe or socket without a reader (ENXIO).
_NOT_REGULAR = frozenset({errno.ELOOP, errno.ENXIO})


class UntrustedFile(PicklableError, PermissionError):
    """A path leads to a symbolic link, a named pipe, or a file of another user."""


def trusted_opener(*owners: int) -> Callable[[str, int], int]:
    """Return an `opener` for `open` that opens only regular files of these users, by default the current one.

    It never blocks on a named pipe, never follows a symbolic link, and truncates only after the checks. It raises
    `UntrustedFile`.
    """
    trusted = owners or (os.geteuid(),)

    def open_checked(path: str, flags: int) -> int:
        try:
            # Without O_NONBLOCK, opening a pipe blocks until its other end is opened, and no signal interrupts it.
            descriptor = os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as exc:
            if exc.errno in _NOT_REGULAR:
                raise UntrustedFile(f"{path} is not a regular file") from exc
            raise
        try:
            _check(descriptor, path, trusted)
            os.set_blocking(descriptor, True)
            if flags & os.O_TRUNC:
                os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    return open_checked


def _check(descriptor: int, path: str, owners: tuple[int, ...]) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedFile(f"{path} is not a regular file")
    if status.st_uid not in owners:
        raise UntrustedFile(f"{path} belongs to another user")
