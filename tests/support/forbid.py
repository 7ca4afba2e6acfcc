#!/usr/bin/python3
"""forbid.py WHAT COMMAND...: runs a command that the kernel refuses something, by a seccomp filter of its
own: `namespaces` (new user namespaces) or `ptrace`. Nothing of the host is changed."""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7fff0000, 0x00050000 | errno.EPERM
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
CLONE_NEWUSER = 0x10000000
CALLS = {"x86_64": {"ptrace": 101, "clone": 56, "unshare": 272},
         "aarch64": {"ptrace": 117, "clone": 220, "unshare": 97}}[platform.machine()]


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def refuse_ptrace() -> list[bytes]:
    return [instruction(LOAD, NUMBER), instruction(JUMP_IF_EQUAL, CALLS["ptrace"], 0, 1),
            instruction(RETURN, REFUSE), instruction(RETURN, ALLOW)]


def refuse_namespaces() -> list[bytes]:
    return [instruction(LOAD, NUMBER), instruction(JUMP_IF_EQUAL, CALLS["unshare"], 1, 0),
            instruction(JUMP_IF_EQUAL, CALLS["clone"], 0, 3), instruction(LOAD, FIRST_ARGUMENT),
            instruction(JUMP_IF_SET, CLONE_NEWUSER, 0, 1), instruction(RETURN, REFUSE),
            instruction(RETURN, ALLOW)]


def install(program: list[bytes]) -> None:
    code = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    buffer = ctypes.create_string_buffer(header)
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(buffer), 0, 0) != 0):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    install({"ptrace": refuse_ptrace, "namespaces": refuse_namespaces}[sys.argv[1]]())
    os.execvp(sys.argv[2], sys.argv[2:])
