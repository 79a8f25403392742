"""A program that restricts itself with landlock, then executes the command.

Run as `python -I -S confine.py RULES PROGRAM ARGUMENT…`, where RULES is a JSON object (see `landlock.py`). The constants are
those of the kernel's linux/landlock.h (docs.kernel.org/userspace-api/landlock.html).
"""

import ctypes
import json
import os
import struct
import sys
import warnings  # noqa: F401 - os.execvp imports it, when this Python's files may no longer be readable

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
"""System calls."""
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES, _DROP_FROM_BOUNDING_SET, _CAPSET = 38, 24, 126
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
"""File access rights that landlock can restrict, by the version that introduced them."""
_IOCTL, _TRUNCATE = 1 << 15, 1 << 14
_ON_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
"""Rights that apply to files other than folders."""
_TCP = 3
_SCOPES = 3
"""Abstract sockets of other processes, and signals to them."""


def main() -> None:
    """Restrict this process, then execute the command."""
    rules, argv = json.loads(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE, None, 0, 1)
    if version < 1:
        raise SystemExit("landlock is not available")
    files = _OF_FILES[max(known for known in _OF_FILES if known <= version)]
    network = _TCP if version >= 4 and not rules["tcp"] else 0
    scopes = _SCOPES if version >= 6 else 0
    attributes = struct.pack("QQQ", files, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _checked(libc.syscall(_CREATE, attributes, len(attributes), 0))
    for place in rules["read"]:
        _allow(libc, ruleset, place, _READ & files)
    for place in rules["write"]:
        _allow(libc, ruleset, place, files)
    _checked(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    for capability in range(64):  # root could else read other processes despite landlock; other users have none
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    _checked(libc.syscall(_CAPSET, struct.pack("Ii", 0x20080522, 0), bytes(24)))
    _checked(libc.syscall(_RESTRICT, ruleset, 0))
    os.close(ruleset)
    os.write(rules["status"], b"restricted")
    os.close(rules["status"])
    os.execvp(argv[0], argv)


def _allow(libc: ctypes.CDLL, ruleset: int, place: str, rights: int) -> None:
    handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(place):
        rights &= _ON_A_FILE
    _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0))
    os.close(handle)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    main()
