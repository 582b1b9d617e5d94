"""Run a program that never outlives the supervisor, as another user if need be.

    python -I -S launch.py '{"parent": pid, "signal": n, "uid": n|null, "gid": n|null, ...}' PROGRAM...

Two more members are booleans: "pass_closed" keeps the one capability with which another user passes closed folders, and
"closed_program" opens the program before the change of user.

A process of its own between fork and exec: what has to be said to the kernel there can't be said by `subprocess`, and
code run by `preexec_fn` is not safe next to threads. It knows only the standard library and starts in 20 ms.
"""

import ctypes
import json
import os
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_SECUREBITS: Final = 28
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2
CAP_DAC_READ_SEARCH: Final = 2
SECBIT_NO_SETUID_FIXUP: Final = 1 << 2
CAPABILITY_VERSION_3: Final = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Set(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main() -> None:
    """Read what to do, do it, and become the program."""
    plan = json.loads(sys.argv[1])
    program = sys.argv[2:]
    linux = sys.platform.startswith("linux")
    executable: str | int = program[0]
    if plan["closed_program"] and os.execve in os.supports_fd:
        executable = os.open(program[0], os.O_RDONLY)
        # The interpreter of a script reads it from there.
        os.set_inheritable(executable, True)
    if plan["uid"] is not None:
        _become(plan["uid"], plan["gid"], pass_closed=linux and plan["pass_closed"])
    if linux:
        # After the change of user, which clears it.
        _prctl(PR_SET_PDEATHSIG, plan["signal"])
        if os.getppid() != plan["parent"]:
            sys.exit("the supervisor died first")
    try:
        os.execve(executable, program, os.environ)
    except OSError as exc:
        sys.exit(f"{program[0]} could not be run as user {os.geteuid()}: {exc.strerror}")


def _become(uid: int, gid: int, *, pass_closed: bool) -> None:
    if pass_closed:
        # Not only does it keep the capabilities over setuid: access(2) then heeds them, too.
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if pass_closed:
        # Where a folder on the way is closed to everybody but root, the program passes it nevertheless: better than
        # opening root's folders to the whole machine. It keeps this one capability and no other.
        bit = 1 << CAP_DAC_READ_SEARCH
        sets = (_Set * 2)(_Set(bit, bit, bit), _Set(0, 0, 0))
        _check(_libc().capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), ctypes.byref(sets)), "capset")
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc().prctl(option, *words), "prctl")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        sys.exit(f"{call}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
