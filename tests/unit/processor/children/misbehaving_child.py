"""A child that does what the messages of a test ask for."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from smelt.processor.children import inside
from smelt.processor.children.frames import READY, frame
from smelt.processor.children.inside import Parent, connect, leave, limit_processor_s, limit_resources

FOREVER_S = 1000


def behave(parent: Parent, message: dict[str, Any], descriptors: list[int]) -> None:
    match message:
        case {"do": "echo"}:
            parent.send(message)
        case {"do": "read"}:
            parent.send({"content": [os.pread(descriptor, 100, 0).decode() for descriptor in descriptors]})
            for descriptor in descriptors:
                os.close(descriptor)
        case {"do": "raw", "data": data}:
            parent._connection.sendall(bytes.fromhex(data))
        case {"do": "frame", "size": size}:
            parent._connection.sendall(frame({"x": "y" * size}))
        case {"do": "signal", "number": number}:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        case {"do": "kill", "number": number}:
            os.kill(os.getpid(), number)
        case {"do": "exit", "code": code}:
            leave(code)
        case {"do": "hang"}:
            time.sleep(FOREVER_S)
        case {"do": "disconnect"}:
            parent._connection.close()
            time.sleep(FOREVER_S)
        case {"do": "print", "text": text}:
            print(text, flush=True)
            parent.send(message)
        case {"do": "descendant", "own_session": own_session}:
            sleeping = subprocess.Popen(["sleep", str(FOREVER_S)], start_new_session=own_session)
            parent.send({"pid": sleeping.pid})
        case {"do": "facts"}:
            parent.send(facts())
        case {"do": "limit processor"}:
            limit_processor_s(1, 100)
            while True:
                pass
        case {"do": "limit resources"}:
            limit_resources(address_space_bytes=1024**3, file_bytes=1000, open_files=20)
            parent.send({"errors": [error_of(action) for action in (allocate, write, open_many)]})


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
    bytearray(1024**3)


def write() -> None:
    with open("/tmp/smelt-test-limit", "wb", buffering=0) as file:
        os.unlink(file.name)
        file.write(bytes(1000))
        file.write(bytes(1000))


def open_many() -> None:
    files = [open("/dev/null") for _ in range(30)]
    del files


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
        inside.time.sleep(0)
    parent = connect()
    if start == "hang":
        time.sleep(FOREVER_S)
    parent.send({"type": "other"} if start == "other" else READY)
    while True:
        behave(parent, *parent.receive())


if __name__ == "__main__":
    main()
