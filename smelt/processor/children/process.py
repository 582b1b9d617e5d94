"""Starts, talks to, limits and ends a child process; the worker's side, asyncio.

A child is `python -m MODULE PID`, in a session of its own. Its standard input is a socket for messages in both
directions; its output goes to the worker's log. It sends `{"type": "ready"}` once its modules are imported.

    child = await Child.start("smelt.processor.children.decode")   # raises ChildDied, with stage "starting"
    try:
        child.stage = "working"                                    # from here on a death is the fault of the work
        await child.send({...}, descriptors=[source, target])
        message = await child.receive(timeout_s=60)                # raises ChildDied, for garbage and timeouts as well
        child.stage = "idle"
    finally:
        await child.end()                                          # kills the whole process group, and waits

Every way in which a child can end or misbehave raises the same `ChildDied`; its `death` has the cause, and
`Death.fault` decides who is at fault. `end` is idempotent, must be called on all paths, and may be called by another
task: one that sends or receives then gets `ChildDied`. A task that was cancelled in `receive` has lost no message; one
that was cancelled in `send` must end the child.

On Linux the kernel kills a child when the thread that started it ends: start children in the thread of the event loop.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

from smelt.errors import TransientError
from smelt.processor.children.frames import (
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    READY,
    InvalidFrame,
    Message,
    body_bytes,
    frame,
    parse_body,
)

logger = logging.getLogger(__name__)

ChildStage = Literal["starting", "idle", "working"]
KillReason = Literal["ended", "timeout", "protocol", "error"]
Fault = Literal["machine", "work", "unknown"]

START_TIMEOUT_S: Final = 120.0
_SEND_TIMEOUT_S: Final = 10.0
# Between the end of the connection and the end of the process.
_EXIT_TIMEOUT_S: Final = 5.0
_OUTPUT_TIMEOUT_S: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024
_MAX_LOG_BYTES: Final = 16 * 1024
# Sent by the kernel because of what the child did: its limits, or invalid native code.
_OWN_SIGNALS: Final = frozenset(
    {
        *(signal.SIGXCPU, signal.SIGXFSZ),
        *(signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE),
    }
)
# Paths, the locale, and how Python finds its modules: no key and no setting of the worker.
_ENVIRONMENT: Final = frozenset(
    {
        *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Death:
    """The end of a child: its exit code, or minus the number of a signal; None if it could not be started.

    `killed_for` is set if the worker killed it.
    """

    returncode: int | None
    stage: ChildStage
    killed_for: KillReason | None = None
    detail: str = ""

    @property
    def fault(self) -> Fault:
        """Return the cause: the `machine` if the child had no work, else its `work`; `unknown` if it was killed.

        A SIGKILL that the worker did not send comes from an operator, or from the kernel without memory: any process
        can have used that up.
        """
        if self.stage != "working" or self.returncode is None:
            return "machine"
        if (
            self.killed_for in ("timeout", "protocol", "error")
            or self.returncode >= 0
            or -self.returncode in _OWN_SIGNALS
        ):
            return "work"
        return "unknown"

    def __str__(self) -> str:
        """Return one line for the log and for the detail of an error."""
        if self.returncode is None:
            return f"the child could not be started: {self.detail}"
        if self.killed_for is not None:
            ended = f"was killed ({self.killed_for})"
        elif self.returncode < 0:
            ended = f"died of {_signal_name(-self.returncode)}"
        else:
            ended = f"exited with {self.returncode}"
        return f"the child {ended} while {self.stage}" + (f": {self.detail}" if self.detail else "")


class ChildDied(TransientError):
    """A child has ended, or was killed because it did not respond or sent something invalid."""

    def __init__(self, death: Death) -> None:
        super().__init__(str(death))
        self.death = death


class Child:
    """A running child. One task at a time sends, and one receives."""

    def __init__(
        self, process: asyncio.subprocess.Process, connection: "_Descriptor", output: "_Descriptor", name: str
    ) -> None:
        self.stage: ChildStage = "starting"
        self._process = process
        self._connection = connection
        self._output = output
        self._name = name
        self._received = bytearray()
        self._killed_for: KillReason | None = None
        self._detail = ""
        self._dying = asyncio.create_task(self._wait_for_death(), name=f"child {process.pid}")

    @classmethod
    async def start(
        cls,
        module: str,
        *,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> "Child":
        """Start a child and wait until it is ready; raise `ChildDied` if that fails, or takes too long.

        It inherits the paths and the locale of the worker's environment, and gets the variables of `environment`.
        """
        try:
            child = await cls._spawn(module, environment or {})
        except OSError as exc:
            raise ChildDied(Death(returncode=None, stage="starting", detail=str(exc))) from exc
        try:
            await child.wait_ready(timeout_s)
        except BaseException:
            await child.end()
            raise
        child.stage = "idle"
        return child

    @classmethod
    async def _spawn(cls, module: str, environment: Mapping[str, str]) -> "Child":
        connection, child_connection = socket.socketpair()
        output, child_output = os.pipe()
        ends = _Descriptor(connection.detach()), _Descriptor(output)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", module, str(os.getpid())),
                stdin=child_connection.fileno(),
                stdout=child_output,
                stderr=child_output,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k in _ENVIRONMENT} | dict(environment),
            )
        except BaseException:
            for end in ends:
                end.close()
            raise
        finally:
            child_connection.close()
            os.close(child_output)
        return cls(process, *ends, module.rpartition(".")[2])

    @property
    def pid(self) -> int:
        """The id of the process, and of its group."""
        return self._process.pid

    @property
    def dying(self) -> "asyncio.Task[Death]":
        """The task that is done once the child has ended, for a death without work."""
        return self._dying

    async def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message, with file descriptors that the caller may close afterwards."""
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._connection.send(frame(message), descriptors)
        except TimeoutError:
            await self.fail("timeout", f"it did not read a message for {_SEND_TIMEOUT_S:.0f} s")
        except OSError:
            await self._fail_disconnected()

    async def receive(self, timeout_s: float) -> dict[str, Any]:
        """Return the next message of the child; kill it if none arrives in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._fill(HEADER_BYTES)
                size = HEADER_BYTES + body_bytes(bytes(self._received[:HEADER_BYTES]))
                await self._fill(size)
            body = bytes(self._received[HEADER_BYTES:size])
            del self._received[:size]
            return parse_body(body)
        except TimeoutError:
            await self.fail("timeout", f"no message for {timeout_s:g} s")
        except InvalidFrame as exc:
            await self.fail("protocol", str(exc))
        except OSError:
            await self._fail_disconnected()

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until the child is ready for work; kill it if it sends anything else, or nothing in time."""
        if await self.receive(timeout_s) != READY:
            await self.fail("protocol", "it is not ready")

    async def fail(self, reason: KillReason, detail: str) -> NoReturn:
        """Kill the child for something that it did or sent, and raise `ChildDied`."""
        self._detail = detail
        raise ChildDied(await self._kill(reason))

    async def end(self) -> Death:
        """Kill the process group of the child, wait until it has ended, and return how it did; idempotent."""
        return await self._kill("ended")

    async def _kill(self, reason: KillReason) -> Death:
        if not self._dying.done():
            self._killed_for = self._killed_for or reason
            _kill_group(self.pid)
        # A second cancellation must not end the task that waits for the process.
        return await asyncio.shield(self._dying)

    async def _wait_for_death(self) -> Death:
        logging_output = asyncio.create_task(self._log_output(), name=f"output of child {self.pid}")
        returncode = await self._process.wait()
        # At once: later, another group could have this number.
        _kill_group(self.pid)
        # A process that has left the group may still have the output open.
        await asyncio.wait({logging_output}, timeout=_OUTPUT_TIMEOUT_S)
        logging_output.cancel()
        self._output.close()
        # A child may send its last message and end at once.
        self._received += self._connection.read_rest()
        self._connection.close()
        return Death(
            returncode=returncode,
            stage=self.stage,
            killed_for=self._killed_for if returncode == -signal.SIGKILL else None,
            detail=self._detail,
        )

    async def _log_output(self) -> None:
        """Log the output of the child up to a limit, and read it to its end."""
        remaining = _MAX_LOG_BYTES
        while chunk := await self._output.read(_CHUNK_BYTES):
            for line in chunk[:remaining].decode(errors="replace").splitlines():
                logger.warning("child %s %s: %s", self._name, self.pid, printable(line))
            remaining = max(0, remaining - len(chunk))

    async def _fail_disconnected(self) -> NoReturn:
        """Raise `ChildDied` for a child that has closed its connection, usually because it has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_TIMEOUT_S):
                raise ChildDied(await asyncio.shield(self._dying))
        await self.fail("protocol", "it closed its connection")

    async def _fill(self, count: int) -> None:
        while len(self._received) < count:
            try:
                chunk = await self._connection.read(min(_CHUNK_BYTES, count - len(self._received)))
            except OSError:
                if len(self._received) < count:
                    raise
                return  # The child has ended meanwhile, and the rest was read.
            if not chunk:
                raise ConnectionResetError
            self._received += chunk


class _Descriptor:
    """A file descriptor that the event loop waits for; nothing is read in advance, and no data lost by a cancellation.

    Raises `ConnectionResetError` once it is closed, also for a task that waits.
    """

    def __init__(self, number: int) -> None:
        os.set_blocking(number, False)
        self._number = number
        self._waiting: dict[asyncio.Future[None], Callable[[int], bool]] = {}

    async def read(self, count: int) -> bytes:
        """Return up to `count` bytes; none at the end."""
        loop = asyncio.get_running_loop()
        while True:
            await self._ready(loop.add_reader, loop.remove_reader)
            with contextlib.suppress(BlockingIOError):
                return os.read(self._number, count)

    def read_rest(self) -> bytes:
        """Return what can be read without waiting, at most one message."""
        data = bytearray()
        with contextlib.suppress(OSError):
            while len(data) < MAX_MESSAGE_BYTES and (chunk := os.read(self._number, _CHUNK_BYTES)):
                data += chunk
        return bytes(data)

    async def send(self, data: bytes, descriptors: Sequence[int]) -> None:
        """Send all bytes to a socket, and descriptors with the first one."""
        loop = asyncio.get_running_loop()
        while data:
            await self._ready(loop.add_writer, loop.remove_writer)
            with contextlib.suppress(BlockingIOError):
                data = data[self._send_part(data, descriptors) :]
                descriptors = ()

    def close(self) -> None:
        """Close it."""
        for future, remove in self._waiting.items():
            remove(self._number)
            if not future.done():
                future.set_exception(ConnectionResetError())
        self._waiting.clear()
        os.close(self._number)
        self._number = -1

    def _send_part(self, data: bytes, descriptors: Sequence[int]) -> int:
        with contextlib.closing(socket.socket(fileno=os.dup(self._number))) as connection:
            if descriptors:
                return socket.send_fds(connection, [data], list(descriptors))
            return connection.send(data)

    async def _ready(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        if self._number < 0:
            raise ConnectionResetError
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = remove
        add(self._number, _set_done, future)
        try:
            await future
        finally:
            if self._waiting.pop(future, None):
                remove(self._number)


def _set_done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _kill_group(pid: int) -> None:
    # macOS responds with PermissionError for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # A real-time signal.
        return f"signal {number}"


def printable(line: str) -> str:
    """Return a line without control characters, which come from a file and reach a terminal."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in line)
