"""The side of a child: messages to and from the worker, limits of resources, and the end with the worker; blocking.

The main function of a child:

    def main() -> None:
        parent = connect()              # first of all, before heavy imports
        ...                             # imports
        parent.send(READY)              # of `frames`
        message, descriptors = parent.receive()
        ...
        parent.send({"type": ...})
        leave()

Standard input is the socket to the worker; what native code prints goes to the worker's log.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from smelt.processor.children.frames import HEADER_BYTES, MAX_DESCRIPTORS, Message, body_bytes, frame, parse_body

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_PARENT_CHECK_INTERVAL_S: Final = 0.25
# The kernel ends a child rather than the worker when memory runs out.
_OOM_SCORE: Final = 500


class Parent:
    """The connection to the worker. A child that can't reach its worker ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: Message) -> None:
        """Send a message; blocks while the worker does not read."""
        try:
            self._connection.sendall(frame(message))
        except OSError:
            leave()

    def wait(self) -> None:
        """Wait until there is a message, without receiving it."""
        select.select([self._connection], [], [])

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for a message; return it with its file descriptors, which the caller closes."""
        # Descriptors arrive with the first byte.
        header, descriptors = self._receive_header()
        return parse_body(self._read(body_bytes(header + self._read(HEADER_BYTES - len(header))))), descriptors

    def _receive_header(self) -> tuple[bytes, list[int]]:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._connection, HEADER_BYTES, MAX_DESCRIPTORS)
        except OSError:
            leave()
        if not data:
            leave()
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return data, descriptors

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                received = self._connection.recv(count - len(data))
            except OSError:
                leave()
            if not received:
                leave()
            data += received
        return bytes(data)


def connect() -> Parent:
    """Bind this process to the worker that started it, and return the connection to it."""
    end_with_parent(int(sys.argv[1]))
    if sys.platform == "linux":
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        with suppress(OSError):  # Not all containers allow it.
            Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return Parent(connection)


def end_with_parent(parent_pid: int) -> None:
    """End this process as soon as its parent ends; a copy of a process does not inherit that."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_leave_with, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:  # It ended before.
        leave()


def run_in_copy(work: Callable[[], NoReturn]) -> int:
    """Run `work` in a copy of this process, which has one thread; return the exit code, or minus a signal's number.

    The copy ends with this process at the latest. It is as it was after the imports, which takes a hundredth of their
    time.
    """
    own_pid = os.getpid()
    if (pid := os.fork()) == 0:
        try:
            end_with_parent(own_pid)
            work()
        except BaseException:  # noqa: BLE001 - A copy must not return to the code of the original.
            traceback.print_exc()
            leave(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def end_like(returncode: int) -> NoReturn:
    """End this process with an exit code, or of the signal with this number if it is negative."""
    if returncode < 0:
        with suppress(OSError):  # Nothing changes the effect of SIGKILL.
            signal.signal(-returncode, signal.SIG_DFL)
        os.kill(os.getpid(), -returncode)
    leave(abs(returncode))


def limit_memory(more_bytes: int) -> None:
    """Raise `MemoryError` in this process when it needs so much more address space than it has now.

    Does nothing on macOS, which ignores such a limit.
    """
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        total_bytes = pages * resource.getpagesize() + more_bytes
        _set_limit(resource.RLIMIT_AS, total_bytes, total_bytes)


def limit_files(*, max_bytes: int, max_open: int) -> None:
    """Raise `OSError` in this process for a file that becomes larger (`EFBIG`), and too many open ones (`EMFILE`)."""
    _set_limit(resource.RLIMIT_FSIZE, max_bytes, max_bytes)
    _set_limit(resource.RLIMIT_NOFILE, max_open, max_open)


def limit_processor_s(seconds: int, hard_s: int) -> None:
    """End this process by SIGXCPU at this processor time of all its threads; `hard_s` can't be raised again."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    # At the hard limit the kernel sends SIGKILL, as it does when memory runs out.
    _set_limit(resource.RLIMIT_CPU, min(seconds, hard_s - 1), hard_s)


def processor_s() -> float:
    """Return the processor time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let nothing in this process open a file in the block; also modules that are not imported yet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    # The lowest free number; those above may be in use, and stay so.
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def leave(code: int = 0) -> NoReturn:
    """End this process without cleanup: native libraries can crash in theirs."""
    sys.stderr.flush()
    os._exit(code)


def _set_limit(kind: int, soft: int, hard: int) -> None:
    current = resource.getrlimit(kind)[1]
    if current != resource.RLIM_INFINITY:
        soft, hard = min(soft, current), min(hard, current)
    resource.setrlimit(kind, (soft, hard))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _leave_with(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_CHECK_INTERVAL_S)
    leave()
