"""Runs a program that never outlives the supervisor, as another user if required.

    python -I -S exec_shim.py '{"parent": pid, "signal": n, "uid": n|null, "gid": n|null, ...}' PROGRAM...

Two more members are booleans: "keep_read_capability" keeps the one capability that lets another user traverse folders
without permission, and "open_before_setuid" opens the program before the change of user.

A separate process is needed because `subprocess` cannot make these system calls between fork and exec, and code in
`preexec_fn` is not safe with threads. It uses only the standard library and starts in 20 ms.
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
    """Apply the plan of the command line, then execute the program."""
    plan = json.loads(sys.argv[1])
    program = sys.argv[2:]
    linux = sys.platform.startswith("linux")
    executable: str | int = program[0]
    if plan["open_before_setuid"] and os.execve in os.supports_fd:
        executable = os.open(program[0], os.O_RDONLY)
        # If the program is a script, its interpreter reads it through this descriptor.
        os.set_inheritable(executable, True)
    if plan["uid"] is not None:
        _switch_user(plan["uid"], plan["gid"], keep_read_capability=linux and plan["keep_read_capability"])
    if linux:
        # Set this after the change of user, which clears it.
        _prctl(PR_SET_PDEATHSIG, plan["signal"])
        if os.getppid() != plan["parent"]:
            sys.exit("the supervisor died first")
    try:
        os.execve(executable, program, os.environ)
    except OSError as exc:
        sys.exit(f"{program[0]} could not be run as user {os.geteuid()}: {exc.strerror}")


def _switch_user(uid: int, gid: int, *, keep_read_capability: bool) -> None:
    if keep_read_capability:
        # This keeps the capabilities across setuid, and also makes access(2) respect them.
        _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keep_read_capability:
        # The program can traverse folders that only root may enter. This is better than opening root's folders to all
        # users. It keeps no other capability.
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
