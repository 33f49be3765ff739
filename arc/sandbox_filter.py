"""The second seccomp filter of the sandbox: which system calls a program may make; every other one fails.

`sandlock`'s own filter refuses what is known to be dangerous; this one, put on top of it, lets through what
Python and numpy need and no more, so that what nobody thought of is refused too. Both hold: the stricter
answer of two filters counts. A filter is a classic BPF program that the kernel runs before each call, over
the call's number and its arguments (not over what they point to: paths are Landlock's to judge).
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from errno import EAGAIN, ENOSYS, EPERM

from arc.errors import ArcError

# In place of the pid of the process that installs the filter; no pid is that large.
OWN_PID = 0x7FFFFFFE


@dataclass(frozen=True)
class Machine:
    """What a filter has to know of a processor."""

    audit: int
    """The kernel's number of it (AUDIT_ARCH_*), which each call carries."""
    column: int
    """Where in `SYSCALLS` its numbers stand."""


MACHINES = {"x86_64": Machine(0xC000003E, 0), "aarch64": Machine(0xC00000B7, 1)}

# Number on x86-64 and on aarch64; None where the machine has no such call.
SYSCALLS: dict[str, tuple[int | None, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup3": (292, 24),
    "pipe2": (293, 59),
    "openat": (257, 56),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "times": (100, 153),
    "getrusage": (98, 165),
    "sched_yield": (24, 124),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "ppoll": (271, 73),
    "pselect6": (270, 72),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # Refused or let through by their arguments.
    "clone": (56, 220),
    "clone3": (435, 435),
    "fcntl": (72, 25),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "sched_getaffinity": (204, 123),
    "tgkill": (234, 131),
}
# Older calls, which aarch64 never had; each does what one above does.
OLDER_SYSCALLS = {
    "open": 2,
    "stat": 4,
    "lstat": 6,
    "poll": 7,
    "access": 21,
    "pipe": 22,
    "select": 23,
    "dup2": 33,
    "pause": 34,
    "alarm": 37,
    "getdents": 78,
    "readlink": 89,
    "getrlimit": 97,
    "getpgrp": 111,
    "time": 201,
}


@dataclass(frozen=True)
class Rule:
    """A test of one argument's low half (bits 0 to 31, all that the kernel looks at in an int)."""

    argument: int
    values: tuple[int, ...] = ()
    """The call is let through for these values and no others."""
    bits: int = 0
    """The call is let through where one of these bits is set."""
    no_bits: int = 0
    """The call is let through where none of these bits is set."""
    zero: int | None = None
    """An argument that has to be 0, a pointer for instance, in both halves."""
    otherwise: int = EPERM


THREAD = 0x10000  # CLONE_THREAD
# Grows down, locked, huge pages: memory that is not counted as it is mapped, or not given back.
UNCOUNTED = 0x100 | 0x2000 | 0x40000
# What opens name spaces (time, mount, cgroup, host, queues, users, pids, network), or makes a process of
# another parent.
SPACES = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x8000

RULES = {
    # Duplicates and the flags of descriptors. Not what an open file shares with all that have it open
    # (non-blocking, owner, leases, a pipe's size), nor locks.
    "fcntl": Rule(1, values=(0, 1, 2, 3, 1030)),
    # Terminal or not, its size; close on exec, and what is there to be read.
    "ioctl": Rule(1, values=(0x5401, 0x5413, 0x5450, 0x5451, 0x541B)),
    "mmap": Rule(3, no_bits=UNCOUNTED),
    # What memory is for, that it is free, or may be in huge pages; not that pages are shared with equal ones.
    "madvise": Rule(2, values=(0, 1, 2, 3, 4, 8, 14, 15)),
    "clone": Rule(0, bits=THREAD, otherwise=EAGAIN),
    "kill": Rule(0, values=(OWN_PID,)),
    "tgkill": Rule(0, values=(OWN_PID,)),
    "sched_getaffinity": Rule(0, values=(0, OWN_PID)),
    "getpgid": Rule(0, values=(0, OWN_PID)),
    "getsid": Rule(0, values=(0, OWN_PID)),
    # Limits are read and never set.
    "prlimit64": Rule(0, values=(0, OWN_PID), zero=2),
    # A thread's name.
    "prctl": Rule(0, values=(15, 16)),
    # Its flags are behind a pointer. Without it, C libraries fall back to `clone`.
    "clone3": Rule(0, values=(), otherwise=ENOSYS),
}
MANY_PROCESSES = Rule(0, no_bits=SPACES)

# struct seccomp_data: the number at 0, the machine at 4, the arguments of 8 bytes from 16 on.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32 = 0x40000000

Instruction = tuple[int, int, int, int]


def seccomp_filter(processes: int, machine: str | None = None) -> bytes:
    """Build the filter, an array of `struct sock_filter`; with one process, nothing but threads is made.

    Whoever installs it replaces `OWN_PID` by its own pid, in 4 bytes. Raises `ArcError` for a machine other
    than x86-64 and aarch64, whose numbers of system calls are not known here.
    """
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise ArcError(
            f"running a model's programs needs x86-64 or aarch64, and this is {machine}: "
            "no list of its system calls is kept in arc/sandbox_filter.py"
        )
    rules = RULES | ({"clone": MANY_PROCESSES} if processes > 1 else {})
    return b"".join(struct.pack("<HBBI", *line) for line in _program(MACHINES[machine], rules))


def _program(machine: Machine, rules: dict[str, Rule]) -> Iterator[Instruction]:
    # A number means another call on another machine, in 32 bits or with x32's bit: such calls are fatal.
    yield _LOAD, 0, 0, 4
    yield _EQUAL, 1, 0, machine.audit
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, 0
    yield _AT_LEAST, 0, 1, _X32
    yield _RETURN, 0, 0, _KILL
    for name, numbers in SYSCALLS.items():
        if (number := numbers[machine.column]) is not None:
            block = list(_judge(rules[name])) if name in rules else [(_RETURN, 0, 0, _ALLOW)]
            yield _EQUAL, 0, len(block), number
            yield from block
    for number in OLDER_SYSCALLS.values() if machine.column == 0 else ():
        yield _EQUAL, 0, 1, number
        yield _RETURN, 0, 0, _ALLOW
    yield _RETURN, 0, 0, _ERRNO | EPERM


def _judge(rule: Rule) -> Sequence[Instruction]:
    """Write one call's rule as a block that always returns."""
    refuse, allow = (_RETURN, 0, 0, _ERRNO | rule.otherwise), (_RETURN, 0, 0, _ALLOW)
    block: list[Instruction] = []
    if rule.zero is not None:
        for half in (0, 4):
            block += [(_LOAD, 0, 0, 16 + 8 * rule.zero + half), (_EQUAL, 1, 0, 0), refuse]
    block.append((_LOAD, 0, 0, 16 + 8 * rule.argument))
    if rule.bits or rule.no_bits:
        first, second = (allow, refuse) if rule.bits else (refuse, allow)
        return [*block, (_ANY_BIT, 0, 1, rule.bits or rule.no_bits), first, second]
    for value in rule.values:
        block += [(_EQUAL, 0, 1, value), allow]
    return [*block, refuse]
