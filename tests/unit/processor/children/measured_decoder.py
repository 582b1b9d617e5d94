"""A decoder that writes its peak memory in bytes, before and after each request, to the file named by `PEAKS`."""

import os
from pathlib import Path
from typing import Any

import smelt.processor.children.decode as child
from smelt.processor.children.frames import Message

PEAKS = os.open(os.environ["PEAKS"], os.O_WRONLY | os.O_APPEND)


def write_peak() -> None:
    status = Path("/proc/self/status").read_text()
    os.write(PEAKS, b"%d\n" % (int(status.split("VmHWM:")[1].split()[0]) * 1024))


def measured_response(*arguments: Any) -> Message:
    write_peak()
    response = original_response(*arguments)
    write_peak()
    return response


original_response = child._response
child._response = measured_response

if __name__ == "__main__":
    child.main()
