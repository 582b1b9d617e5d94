"""A decoder that does to itself what a poisonous file could do, as the variables `POISON...` describe."""

import errno
import os
import signal
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import smelt.processor.children.decode as child
import smelt.processor.media.decode as media_decode
import smelt.processor.media.probe as media_probe
from smelt.processor.children.inside import Parent
from smelt.processor.media.values import BYTES_PER_SECOND, Decoded, Probe

POISON = os.environ["POISON"]
# One byte for each child that the file was given to.
COUNTER = os.open(os.environ["POISON_COUNTER"], os.O_RDWR | os.O_APPEND)
TIMES = int(os.environ["POISON_TIMES"])
IN_PROBE = os.environ["POISON_STAGE"] == "probe"
FOREVER_S = 1000

parents: list[Parent] = []


def crash(name: str) -> None:
    number = getattr(signal, name)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def spin() -> None:
    while True:
        pass


def allocate() -> None:
    blocks = []
    while True:
        blocks.append(bytearray(32 * 1024 * 1024))


def open_by_name() -> None:
    with open("/etc/passwd", "rb"):
        pass


def raise_error(error: Exception) -> None:
    raise error


def send(response: dict[str, Any]) -> None:
    parents[0].send(response)


def send_body(body: bytes) -> None:
    parents[0]._connection.sendall(len(body).to_bytes(4, "big") + body)


def send_garbage() -> None:
    parents[0]._connection.sendall(b"\xff" * 100)
    time.sleep(FOREVER_S)


ACTIONS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(7),
    "hang": lambda: time.sleep(FOREVER_S),
    "spin": spin,
    "allocate": allocate,
    "garbage": send_garbage,
    "open": open_by_name,
    "bug": lambda: raise_error(ZeroDivisionError("a bug\x1b[2J")),
    "disk full": lambda: raise_error(OSError(errno.ENOSPC, "full")),
    "other response": lambda: send({"type": "decoded", "decoded": {"sample_count": 0}} if IN_PROBE else probed()),
    "unknown response": lambda: send({"type": "unknown"}),
    "infinite share": lambda: send_body(b'{"type":"progress","share":1e999}'),
    "infinite time": lambda: send_body(
        b'{"type":"decoded","decoded":{"sample_count":0,"report":{"damaged":[[0,1e999]]}}}'
        if not IN_PROBE
        else b'{"type":"probed","probe":{"size_bytes":1,"declared_s":1e999}}'
    ),
}


def probed() -> dict[str, Any]:
    return {"type": "probed", "probe": {"size_bytes": 1, "declared_s": None}}


def poison() -> None:
    os.write(COUNTER, b"x")
    if os.fstat(COUNTER).st_size > TIMES:
        return
    if POISON.startswith("SIG"):
        crash(POISON)
    if POISON in ACTIONS:
        ACTIONS[POISON]()


def connect() -> Parent:
    parents.append(original_connect())
    return parents[0]


def probe(*arguments: Any) -> Probe:
    if IN_PROBE:
        poison()
    return original_probe(*arguments)


def decode(source: Any, sink: BinaryIO, *arguments: Any, **more: Any) -> Decoded:
    if not IN_PROBE:
        poison()
        if POISON == "output":
            # The limit for one channel.
            sink.seek((int(os.environ["POISON_DURATION_S"]) + 2) * BYTES_PER_SECOND)
            sink.write(b"x")
            sink.flush()
        if POISON == "samples":
            return Decoded(sample_count=10**6)
    return original_decode(source, sink, *arguments, **more)


original_connect, original_probe, original_decode = child.connect, media_probe.probe, media_decode.decode
child.connect, media_probe.probe, media_decode.decode = connect, probe, decode
if POISON == "spin":
    child._PROBE_PROCESSOR_S = 1
    child._DECODE_PROCESSOR_S = 1 - int(os.environ["POISON_DURATION_S"])

if __name__ == "__main__":
    child.main()
