"""Drives a server through a recording and compares what it says, frame by frame."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets
from realtime_server import USER_A, USER_B, RealtimeServer
from recorded import Comparable, Step, decode_binary, restore
from websockets.asyncio.client import ClientConnection

from smelt.local.keys import Keys

PATIENCE_S = 8.0
APART_MS = 30
BARRIER = "barrier"

_PLACEHOLDER = re.compile(r"<([A-Z][A-Za-z0-9_]*)>")
_LIFE = re.compile(r"(EXPIRED|EXPIRES_IN)_(\d+)s")
_SINCE = re.compile(r'"since": (1\d{12})\b')
_CUT_BODY = re.compile(r"\.\.\.\((\d+) bytes\)$")


@dataclass
class Peer:
    """One recorded socket, played."""

    socket: ClientConnection
    v2: bool
    received: asyncio.Queue[str | bytes | None] = field(default_factory=asyncio.Queue)
    reader: asyncio.Task[None] | None = None

    async def read(self) -> None:
        with suppress(websockets.ConnectionClosed):
            async for data in self.socket:
                self.received.put_nowait(data)
        self.received.put_nowait(None)

    async def next(self) -> str | bytes | None:
        async with asyncio.timeout(PATIENCE_S):
            return await self.received.get()

    def put_back(self, frames: list[str]) -> None:
        later = [self.received.get_nowait() for _ in range(self.received.qsize())]
        for frame in (*frames, *later):
            self.received.put_nowait(frame)

    async def rest(self) -> list[str | bytes]:
        """What else was sent up to now: everything before the answer to a last heartbeat."""
        beat: Any = {"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": BARRIER}
        if self.v2:
            beat = [None, BARRIER, "phoenix", "heartbeat", {}]
        with suppress(websockets.ConnectionClosed):
            await self.socket.send(json.dumps(beat))
        rest = []
        while (data := await self.next()) is not None:
            if isinstance(data, str) and BARRIER in data:
                break
            rest.append(data)
        return rest


@dataclass
class Tally:
    """How many frames and answers were compared, and what differed."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def compare(self, where: str, expected: Any, found: Any) -> None:
        self.compared += 1
        if expected != found:
            self.differences.append(f"{where}\n  expected {_short(expected)}\n  found    {_short(found)}")


@dataclass
class Replayer:
    """Plays one recording.

    `noise` are the indexes of steps that belong to something else, `statements` stand for some that were recorded.
    With `topics_apart` frames of different channels may change places.
    """

    server: RealtimeServer
    steps: list[Step]
    noise: frozenset[int] = frozenset()
    statements: dict[str, str] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    topics_apart: bool = False
    tally: Tally = field(default_factory=Tally)
    _peers: dict[str, Peer] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)
    _expected: Comparable = field(default_factory=Comparable)
    _found: Comparable = field(default_factory=Comparable)
    _started_ms: int = field(default_factory=lambda: int(time.time() * 1000))

    async def play(self) -> Tally:
        async with httpx.AsyncClient(base_url=self.server.http_url, timeout=30) as client, self._closing():
            for number, step in enumerate(self.steps):
                if number not in self.noise:
                    await self._step(number, step, client)
                if len(self.tally.differences) > 3:
                    break
        return self.tally

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for peer in self._peers.values():
                await peer.socket.close()
                if peer.reader is not None:
                    await peer.reader

    async def _step(self, number: int, step: Step, client: httpx.AsyncClient) -> None:
        where = f"step {number} at {step['t_ms']} ms"
        match step["dir"]:
            case "connect":
                await self._connect(where, step, self._outcome(number, step))
            case "send" if peer := self._peers.get(step["conn"]):
                await self._pace(number)
                await self._send(peer, step)
            case "recv":
                await self._receive(where, step)
            case "closed" if step["conn"] in self._peers:
                await self._close(where, step)
            case "sql":
                instead = [text for start, text in self.statements.items() if step["sql"].startswith(start)]
                await self.server.sql(*instead or [step["sql"]])
                following = (n for n in range(number + 1, len(self.steps)) if n not in self.noise)
                if self.steps[next(following)]["dir"] != "recv":
                    await self.server.settle()
            case "http":
                await self._request(where, step, client)
            case _:
                pass

    async def _pace(self, number: int) -> None:
        """Keep frames that were sent one some time after the other apart: nothing but time tells that one arrived."""
        step, before = self.steps[number], self.steps[number - 1]
        if before["dir"] == "send" and step["t_ms"] - before["t_ms"] > APART_MS:
            await asyncio.sleep(APART_MS / 1000)

    def _outcome(self, number: int, step: Step) -> Step:
        following = (s for s in self.steps[number + 1 :] if s.get("conn") == step["conn"])
        return next((s for s in following if s["dir"] in ("connected", "connect_rejected")), step)

    async def _connect(self, where: str, step: Step, outcome: Step) -> None:
        _, _, query = step["url"].partition("?")
        headers = {name: self._fill(text) for name, text in self.headers.get(step["conn"], {}).items()}
        url = f"{self.server.socket_url}?{self._fill(query)}"
        expected = (outcome.get("status", 101), outcome.get("body"))
        try:
            socket = await websockets.connect(url, additional_headers=headers, max_size=None, ping_interval=None)
        except websockets.InvalidStatus as refused:
            self.tally.compare(where, expected, (refused.response.status_code, refused.response.body.decode()))
            return
        self.tally.compare(where, expected, (101, None))
        peer = self._peers[step["conn"]] = Peer(socket, v2="vsn=2" in query)
        peer.reader = asyncio.create_task(peer.read())

    async def _send(self, peer: Peer, step: Step) -> None:
        data: str | bytes
        if "binary_hex" in step:
            data = bytes.fromhex(step["binary_hex"])
        elif "raw" in step:
            data = step["raw"]
        else:
            data = self._fill(json.dumps(self._shift(restore(step["frame"]))))
        with suppress(websockets.ConnectionClosed):  # Some frames make the server close the socket.
            await peer.socket.send(data)

    async def _receive(self, where: str, step: Step) -> None:
        if "binary_hex" in step:
            expected = self._expected.value(decode_binary(bytes.fromhex(step["binary_hex"])))
        elif "raw" in step and "frame" not in step:
            return  # No JSON: a bug of that server which is not copied.
        else:
            expected = self._expected.value(restore(step["frame"]))
        try:
            data = await self._next(self._peers[step["conn"]], expected)
        except TimeoutError:
            found: Any = "nothing"
        else:
            found = "closed" if data is None else self._found.frame(data)
            if isinstance(data, str) and "raw" in step:
                self.tally.compare(f"{where}, numbers", *_numbers(step["raw"], data))
        self.tally.compare(f"{where}, {step['conn']}", expected, found)

    async def _next(self, peer: Peer, expected: Any) -> str | bytes | None:
        if not self.topics_apart:
            return await peer.next()
        early = []
        while isinstance(data := await peer.next(), str) and _topic(json.loads(data)) != _topic(expected):
            early.append(data)
        peer.put_back(early)
        return data

    async def _close(self, where: str, step: Step) -> None:
        peer = self._peers.pop(step["conn"])
        try:
            rest = [self._found.frame(data) for data in await peer.rest()]
        except TimeoutError:
            rest = ["no answer to a last heartbeat"]
        self.tally.compare(f"{where}, {step['conn']}: nothing more", [], rest)
        await peer.socket.close()
        assert peer.reader is not None
        await peer.reader
        self.tally.compare(f"{where}, {step['conn']}: closed", step["code"], peer.socket.close_code)

    async def _request(self, where: str, step: Step, client: httpx.AsyncClient) -> None:
        headers = {name: self._fill(text) for name, text in step["request_headers"].items() if name != "Host"}
        path = self._fill(step["path"]).replace("/socket/", "/")
        answer = await client.request(
            step["method"], f"/realtime/v1{path}", headers=headers, content=_content(step["request_body"])
        )
        content_type = step["response_headers"].get("content-type")
        expected = (step["status"], step["body"], content_type and content_type.partition(";")[0])
        found_type = answer.headers.get("content-type", "").partition(";")[0] or None
        self.tally.compare(where, expected, (answer.status_code, answer.text, found_type if content_type else None))

    def _shift(self, value: Any, key: str = "") -> Any:
        """Move times in epoch milliseconds from the day of the recording to this run."""
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

    def _fill(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: self._token(found[1]), text)

    def _token(self, name: str) -> str:
        if name not in self._tokens:
            self._tokens[name] = self._mint(name)
        return self._tokens[name]

    def _mint(self, name: str) -> str:
        server, life = self.server, _LIFE.search(name)
        lives_s = (int(life[2]) if life[1] == "EXPIRES_IN" else -int(life[2])) if life else 3600
        match name.split("_"):
            case ["ANON", "KEY"]:
                return server.keys.anon_key
            case ["SERVICE", "KEY"]:
                return server.keys.service_role_key
            case ["ANON", *_]:
                return server.token(role="anon", lives_s=lives_s)
            case ["JWT", "BAD", *_]:
                return Keys(jwt_secret="another secret, which is long enough to be one").sign(
                    {"role": "anon", "exp": 2**33}
                )
            case ["JWT", "NO", "EXP"]:
                return server.keys.sign({"role": "authenticated", "sub": USER_A})
            case ["JWT", "NO", "ROLE"]:
                return server.keys.sign({"exp": 2**33})
            case ["JWT", "UNKNOWN" | "ROLE", *_]:
                return server.token(role="nosuchrole")
            case ["JWT", "USER", "B", *_]:
                return server.token(USER_B, nonce=name)
            case _:
                return server.token(USER_A, lives_s=lives_s, nonce=name)


def _topic(frame: Any) -> Any:
    return frame["topic"] if isinstance(frame, dict) else frame[2]


def _times(steps: list[Step]) -> list[int]:
    return [int(found) for found in _SINCE.findall(json.dumps(steps))]


def _content(body: Any) -> bytes | None:
    if body is None:
        return None
    if not isinstance(body, str):
        return json.dumps(body).encode()
    if cut := _CUT_BODY.search(body):
        if "nobody" in body:
            messages = [{"topic": "nobody", "event": "ev", "payload": {"n": n}} for n in range(150)]
            return json.dumps({"messages": messages}).encode()
        head = body[: body.index("aaaa")].encode()
        tail = b'"}}]}'
        return head + b"a" * (int(cut[1]) - len(head) - len(tail)) + tail
    return body.encode()


def _numbers(recorded: str, found: str) -> tuple[list[str], list[str]]:
    """All numbers of two frames in the form that they were sent in, but for those that identify something."""
    return _numbers_of(recorded), _numbers_of(found)


def _numbers_of(text: str) -> list[str]:
    numbers: list[str] = []
    json.loads(text, parse_float=numbers.append, parse_int=numbers.append)
    return [number for number in numbers if len(number) < 6 or len(number) > 9]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 1200 else f"{text[:1200]}..."
