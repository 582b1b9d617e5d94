"""An app that follows smelts with the JavaScript package, in a process of its own."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.acceptance.commands import ROOT, environment

JS: Final = ROOT / "tests" / "js"
EXIT_TIMEOUT_S: Final = 20.0
MAX_LINE_BYTES: Final = 1 << 22

Call = dict[str, Any]


class Viewer:
    """Calls of the package to one client of the app: `calls` by their origin, in order.

    Origins are `going`, a watch with connection events; `view`, the snapshot after its end; `done`; `ending`, a
    subscription to another smelt; `left`, one that is ended early; and `client`.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = defaultdict(list)

    @property
    def lines(self) -> list[str]:
        """The transcript so far."""
        return [line for call in self.calls["going"] for line in call.get("lines", ())]

    @property
    def connection(self) -> list[Call]:
        """The connection events so far."""
        return [call for call in self.calls["going"] if call["type"] == "connection"]

    @property
    def is_live(self) -> bool:
        """True while the channel of the watched smelt is joined."""
        return bool(self.connection) and self.connection[-1]["status"] == "live"

    @property
    def ends(self) -> list[Call]:
        """The calls of the watch that end it; one if all is well."""
        return [call for call in self.calls["going"] if call["type"] in ("completed", "failed", "error")]

    def of(self, origin: str, *types: str) -> list[Call]:
        """Return the calls of these types."""
        return [call for call in self.calls[origin] if call["type"] in types]


class JsApp:
    """A process that runs commands of `follow.js`."""

    def __init__(self, process: Process) -> None:
        self.viewers: defaultdict[str, Viewer] = defaultdict(Viewer)
        self.uncaught: list[str] = []
        self.is_frozen = False
        self._process = process
        assert process.stderr is not None
        self._reading = asyncio.create_task(self._read())
        self._errors = asyncio.create_task(process.stderr.read())  # With the warnings of supabase-js.

    def send(self, command: str, name: str, **options: object) -> Viewer:
        """Send a command for the client with a name; return its viewer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, "name": name, **options}).encode() + b"\n")
        return self.viewers[name]

    def freeze(self) -> None:
        """Stop the process, as when a machine sleeps."""
        self._process.send_signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        """Let the process go on."""
        self._process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    async def end(self) -> None:
        """End the input of the process and wait until it exits; kill it if it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = await asyncio.wait_for(self._process.wait(), EXIT_TIMEOUT_S)
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._reading
            errors = await self._errors
        assert code == 0, errors.decode()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            call = json.loads(line)
            if call["of"] == "process":
                self.uncaught.append(call["error"])
            else:
                self.viewers[call["name"]].calls[call["of"]].append(call)


@asynccontextmanager
async def js_app(script: str) -> AsyncIterator[JsApp]:
    """Run a script of `tests/js/follower`, which has no errors of its own."""
    command = ("node", f"follower/{script}")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=JS, env=environment({}), stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=MAX_LINE_BYTES
    )
    app = JsApp(process)
    try:
        yield app
    finally:
        await app.end()
