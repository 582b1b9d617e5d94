"""A child that does what the messages of a test ask for."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from smelt.processor.children.frames import READY
from smelt.processor.children.inside import (
    Parent,
    connect,
    end_like,
    leave,
    limit_files,
    limit_memory,
    limit_processor_s,
    run_in_copy,
)

FOREVER_S = 1000
PR_GET_PDEATHSIG = 2

Message = dict[str, Any]
Descriptors = list[int]


def echo(parent: Parent, message: Message, _: Descriptors) -> None:
    parent.send(message)


def read(parent: Parent, _: Message, descriptors: Descriptors) -> None:
    parent.send({"content": [os.pread(descriptor, 100, 0).decode() for descriptor in descriptors]})
    for descriptor in descriptors:
        os.close(descriptor)


def send_raw(parent: Parent, message: Message, _: Descriptors) -> None:
    parent._connection.sendall(bytes.fromhex(message["data"]))


def send_large(parent: Parent, message: Message, _: Descriptors) -> None:
    parent.send({"x": "y" * message["size"]})


def crash(_parent: Parent, message: Message, _: Descriptors) -> None:
    signal.signal(message["number"], signal.SIG_DFL)
    signal.raise_signal(message["number"])


def kill(_parent: Parent, message: Message, _: Descriptors) -> None:
    os.kill(os.getpid(), message["number"])


def end(_parent: Parent, message: Message, _: Descriptors) -> None:
    leave(message["code"])


def send_and_end(parent: Parent, message: Message, _: Descriptors) -> None:
    parent.send(message)
    leave()


def hang(_parent: Parent, _message: Message, _: Descriptors) -> None:
    time.sleep(FOREVER_S)


def disconnect(parent: Parent, _message: Message, _: Descriptors) -> None:
    parent._connection.close()
    time.sleep(FOREVER_S)


def write_output(parent: Parent, message: Message, _: Descriptors) -> None:
    print(message["text"], flush=True)
    parent.send({})


def start_descendant(parent: Parent, message: Message, _: Descriptors) -> None:
    sleeping = subprocess.Popen(["sleep", str(FOREVER_S)], start_new_session=message["own_session"])
    parent.send({"pid": sleeping.pid})


def send_facts(parent: Parent, _message: Message, _: Descriptors) -> None:
    parent.send(facts())


def send_death_signal(parent: Parent, message: Message, _: Descriptors) -> None:
    def send() -> None:
        number = ctypes.c_int()
        ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
        parent.send({"signal": number.value})

    def send_and_leave() -> NoReturn:
        send()
        leave()

    if message.get("in_copy"):
        run_in_copy(send_and_leave)
    else:
        send()


def end_like_copy(_parent: Parent, message: Message, _: Descriptors) -> None:
    end_like(run_in_copy(lambda: end_like(message["number"])))


def raise_in_copy(parent: Parent, _message: Message, _: Descriptors) -> None:
    parent.send({"returncode": run_in_copy(lambda: leave(1 // 0))})


def exceed_processor_s(_parent: Parent, _message: Message, _: Descriptors) -> None:
    limit_processor_s(1, 100)
    while True:
        pass


def exceed_resources(parent: Parent, _message: Message, _: Descriptors) -> None:
    limit_memory(64 * 1024**2)
    limit_files(max_bytes=1000, max_open=20)
    parent.send({"errors": [error_of(action) for action in (allocate, write, open_many)]})


ACTIONS = {
    "echo": echo,
    "send and end": send_and_end,
    "read": read,
    "raw": send_raw,
    "large": send_large,
    "crash": crash,
    "kill": kill,
    "exit": end,
    "hang": hang,
    "disconnect": disconnect,
    "print": write_output,
    "descendant": start_descendant,
    "facts": send_facts,
    "death signal": send_death_signal,
    "end like a copy": end_like_copy,
    "raise in a copy": raise_in_copy,
    "exceed processor": exceed_processor_s,
    "exceed resources": exceed_resources,
}


def facts() -> dict[str, Any]:
    status = Path("/proc/self/status").read_text()
    return {
        "environment": dict(os.environ),
        "session": os.getsid(0),
        "pid": os.getpid(),
        "open": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "path": sys.path,
        "oom_score_adj": Path("/proc/self/oom_score_adj").read_text().strip(),
        "no_new_privs": status.split("NoNewPrivs:")[1].split()[0],
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "input": os.read(0, 10).decode(),
    }


def allocate() -> None:
    bytearray(70 * 1024**2)


def write() -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(bytes(1000))
        file.write(bytes(1000))


def open_many() -> None:
    for _ in range(30):
        os.dup(0)


def error_of(action: Any) -> str:
    try:
        action()
    except OSError as error:
        return str(error.errno)
    except MemoryError:
        return "MemoryError"
    return "none"


def main() -> None:
    start = os.environ.get("START", "")
    if start == "raise":
        raise RuntimeError("no library")
    if start == "on another system":
        sys.platform = "darwin"
    parent = connect()
    if start == "hang":
        time.sleep(FOREVER_S)
    parent.send({"type": "other"} if start == "other" else READY)
    while True:
        message, descriptors = parent.receive()
        ACTIONS[message["do"]](parent, message, descriptors)


if __name__ == "__main__":
    main()
