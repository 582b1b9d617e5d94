"""Replays a recording against a server and compares the frames."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets

from tests.integration.local.realtime.realtime_server import Reachable
from tests.integration.local.realtime.recorded import ABSENT, Comparable, Step, decode_binary, restore
from tests.integration.local.realtime.recorded_socket import RecordedSocket
from tests.integration.local.realtime.recorded_tokens import RecordedTokens, restore_body

APART_MS = 30
NORMAL = 1000

_SINCE = re.compile(r'"since": (1\d{12})\b')


@dataclass
class Tally:
    """Counts the compared frames, responses and closes, and lists the differences, deliberate or not."""

    compared: int = 0
    deliberate: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return self.compared - self.deliberate - len(self.differences)

    def compare(self, where: str, expected: Any, found: Any, *, deliberate: bool = False) -> None:
        self.compared += 1
        self.deliberate += deliberate and expected == found
        if expected != found:
            self.differences.append(f"{where}\n  expected {_short(expected)}\n  found    {_short(found)}")


@dataclass
class Replayer:
    """Replays one recording.

    `acts` perform the manual actions of the recording, selected by the start of the note. `statements` replace recorded
    statements. With `topics_apart`, frames of different channels may swap; with `server_closes`, the server also does
    normal closes. `deliberate` steps contain the intended behavior instead of the recorded one. A recorded frame that
    this server does not send is marked as `unsaid`.
    """

    server: Reachable
    steps: list[Step]
    statements: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, dict[str, str]] = field(default_factory=dict)
    acts: Mapping[str, "Act"] = field(default_factory=dict)
    topics_may_swap: bool = False
    server_closes: bool = False
    tally: Tally = field(default_factory=Tally)
    sockets: dict[str, RecordedSocket] = field(default_factory=dict)
    _expected: Comparable = field(default_factory=Comparable)
    _found: Comparable = field(default_factory=Comparable)
    _started_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    def __post_init__(self) -> None:
        self._recorded_tokens = RecordedTokens(self.server)

    async def play(self) -> Tally:
        async with httpx.AsyncClient(base_url=self.server.http_url, timeout=30) as client, self._closing():
            for number, step in enumerate(self.steps):
                await self._step(number, step, client)
                if len(self.tally.differences) > 3:
                    break
        return self.tally

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for peer in self.sockets.values():
                await peer.close()

    async def _step(self, number: int, step: Step, client: httpx.AsyncClient) -> None:
        where = f"step {number} at {step['t_ms']} ms"
        match step["dir"]:
            case "connect":
                await self._connect(where, step, self._outcome(number, step))
            case "send" if peer := self.sockets.get(step["conn"]):
                await self._pace(number)
                await self._send(peer, step)
            case "recv":
                await self._receive(where, step)
            case "closed" if step["conn"] in self.sockets:
                await self._close(where, step)
            case "sql":
                await self._execute(number, step["sql"])
            case "http":
                await self._request(where, step, client)
            case "unsaid":
                self.tally.compare(where, None, None, deliberate=True)
            case "note":
                await self._act(step["text"])
            case _:
                pass

    async def _execute(self, number: int, statement: str) -> None:
        instead = [text for start, text in self.statements.items() if statement.startswith(start)]
        await self.server.sql(*instead or [statement])
        if self.steps[number + 1 :] and self.steps[number + 1]["dir"] != "recv":
            await self.server.settle()

    async def _act(self, note: str) -> None:
        for act in (act for beginning, act in self.acts.items() if note.startswith(beginning)):
            await act(self)

    async def _pace(self, number: int) -> None:
        """Wait between frames that were recorded with a pause; only time shows that a frame has arrived."""
        step, before = self.steps[number], self.steps[number - 1]
        if before["dir"] == "send" and step["t_ms"] - before["t_ms"] > APART_MS:
            await asyncio.sleep(APART_MS / 1000)

    def _outcome(self, number: int, step: Step) -> Step:
        following = (s for s in self.steps[number + 1 :] if s.get("conn") == step["conn"])
        return next(
            (s for s in following if s["dir"] in ("connected", "connect_rejected")), {"status": "connection refused"}
        )

    async def _connect(self, where: str, step: Step, outcome: Step) -> None:
        _, _, query = step["url"].partition("?")
        headers = {name: self._recorded_tokens.fill(text) for name, text in self.headers.get(step["conn"], {}).items()}
        url = f"{self.server.socket_url}?{self._recorded_tokens.fill(query)}"
        expected = (outcome["status"], outcome.get("body"))
        try:
            socket = await websockets.connect(url, additional_headers=headers, max_size=None, ping_interval=None)
        except websockets.InvalidStatus as error:
            self.tally.compare(where, expected, (error.response.status_code, error.response.body.decode()))
            return
        except ConnectionRefusedError:
            self.tally.compare(where, expected, ("connection refused", None))
            return
        self.tally.compare(where, expected, (101, None))
        self.sockets[step["conn"]] = RecordedSocket(socket, v2="vsn=2" in query)

    async def _send(self, peer: RecordedSocket, step: Step) -> None:
        data: str | bytes
        if "binary_hex" in step:
            data = bytes.fromhex(step["binary_hex"])
        elif "raw" in step:
            data = step["raw"]
        else:
            data = self._recorded_tokens.fill(json.dumps(self._shift(restore(step["frame"]))))
        with suppress(websockets.ConnectionClosed):  # The server closes the socket on some frames.
            await peer.socket.send(data)

    async def _receive(self, where: str, step: Step) -> None:
        where, deliberate = f"{where}, {step['conn']}", step.get("deliberate", False)
        if "raw" in step and "frame" not in step:
            # Not JSON: a bug of the platform, which is not imitated.
            self.tally.compare(where, None, None, deliberate=True)
            return
        if "binary_hex" in step:
            expected = self._expected.value(decode_binary(bytes.fromhex(step["binary_hex"])))
        else:
            expected = self._expected.value(restore(step["frame"]))
            deliberate = deliberate or any(f'"{column}"' in json.dumps(step["frame"]) for column in ABSENT)
        try:
            data = await self._next(self.sockets[step["conn"]], expected)
        except TimeoutError:
            self.tally.compare(where, expected, "nothing")
            return
        found = "closed" if data is None else self._found.frame(data)
        if isinstance(data, str) and "raw" in step:
            recorded_numbers, found_numbers = _numbers(step["raw"], data)
            expected, found = (expected, recorded_numbers), (found, found_numbers)
        self.tally.compare(where, expected, found, deliberate=deliberate)

    async def _next(self, peer: RecordedSocket, expected: Any) -> str | bytes | None:
        if not self.topics_may_swap:
            return await peer.next()
        early = []
        while isinstance(data := await peer.next(), str) and _topic(json.loads(data)) != _topic(expected):
            early.append(data)
        peer.put_back(early)
        return data

    async def _close(self, where: str, step: Step) -> None:
        peer, code = self.sockets.pop(step["conn"]), step["code"]
        by_server = self.server_closes or code != NORMAL
        try:
            rest = [self._found.frame(data) for data in await (peer.until_closed() if by_server else peer.rest())]
        except TimeoutError:
            rest = ["no reply to the final heartbeat"]
        found = (rest, await peer.close())
        self.tally.compare(f"{where}, {step['conn']}", ([], code), found, deliberate=step.get("deliberate", False))

    async def _request(self, where: str, step: Step, client: httpx.AsyncClient) -> None:
        headers = {
            name: self._recorded_tokens.fill(text) for name, text in step["request_headers"].items() if name != "Host"
        }
        path = self._recorded_tokens.fill(step["path"]).replace("/socket/", "/")
        response = await client.request(
            step["method"], f"/realtime/v1{path}", headers=headers, content=restore_body(step["request_body"])
        )
        content_type = step["response_headers"].get("content-type")
        expected = (step["status"], step["body"], content_type and content_type.partition(";")[0])
        found_type = response.headers.get("content-type", "").partition(";")[0] or None
        found = (response.status_code, response.text, found_type if content_type else None)
        expected, found = (expected, _rate(step["response_headers"])), (found, _rate(response.headers))
        self.tally.compare(where, expected, found, deliberate=step.get("deliberate", False))

    def _shift(self, value: Any, key: str = "") -> Any:
        """Shift times in epoch milliseconds from the recording to this run."""
        match value:
            case dict():
                return {name: self._shift(item, name) for name, item in value.items()}
            case list():
                return [self._shift(item, key) for item in value]
            case int() if key == "since" and value > 1_700_000_000_000:
                first = min(_times(self.steps))
                return self._started_ms + value - first
            case _:
                return value


Act = Callable[[Replayer], Awaitable[None]]


def _rate(headers: Mapping[str, str]) -> tuple[str | None, bool, bool]:
    """Return the headers of the rate limit, without the counts of earlier requests."""
    return headers.get("x-rate-limit"), "x-rate-limit-remaining" in headers, "x-rate-rolling" in headers


def _topic(frame: Any) -> Any:
    return frame["topic"] if isinstance(frame, dict) else frame[2]


def _times(steps: list[Step]) -> list[int]:
    return [int(found) for found in _SINCE.findall(json.dumps(steps))]


def _numbers(recorded: str, found: str) -> tuple[list[str], list[str]]:
    """Return all numbers of two frames as text, except identifiers."""
    return _numbers_of(recorded), _numbers_of(found)


def _numbers_of(text: str) -> list[str]:
    numbers: list[str] = []
    json.loads(text, parse_float=numbers.append, parse_int=numbers.append)
    return [number for number in numbers if len(number) < 6 or len(number) > 9]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 1200 else f"{text[:1200]}..."
