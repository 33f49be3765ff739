from __future__ import annotations

import re
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from arc import sandbox_filter
from arc.errors import ArcError
from arc.sandbox_filter import MACHINES, OLDER_SYSCALLS, OWN_PID, RULES, SYSCALLS, seccomp_filter

ALLOW, KILL = "allow", "kill"
HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+)\s+(\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}


def judge(program: bytes, machine: int, number: int, *arguments: int) -> str | int:
    """Run a filter as the kernel would: "allow", "kill", or an errno."""
    filled = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, machine, 0, *(a & (1 << 64) - 1 for a in filled))
    lines, at, held = list(struct.iter_unpack("<HBBI", program)), 0, 0
    while True:
        code, yes, no, k = lines[at]
        at += 1
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, k)
        elif code == 0x06:
            known: dict[int, str | int] = {0x7FFF0000: ALLOW, 0x80000000: KILL}
            return known[k] if k in known else k - 0x00050000
        else:
            at += yes if {0x15: held == k, 0x35: held >= k, 0x45: bool(held & k)}[code] else no


@pytest.mark.parametrize("name", MACHINES)
def test_only_what_is_listed_is_let_through(name: str) -> None:
    machine, program = MACHINES[name], seccomp_filter(1, name)
    numbers = {pair[machine.column]: call for call, pair in SYSCALLS.items()}
    numbers |= {number: call for call, number in OLDER_SYSCALLS.items()} if machine.column == 0 else {}
    for number in range(600):
        found = judge(program, machine.audit, number)
        if number not in numbers:
            assert found == 1, number
        elif numbers[number] not in RULES:
            assert found == ALLOW, numbers[number]


@pytest.mark.parametrize("name", MACHINES)
def test_calls_of_another_machine_are_fatal(name: str) -> None:
    machine, program = MACHINES[name], seccomp_filter(1, name)
    # i386, 32-bit Arm, and each other.
    for other in (0x40000003, 0x40000028, *(m.audit for m in MACHINES.values() if m != machine)):
        assert judge(program, other, 0) == KILL
    for number in (0x40000000, 0x40000001, 0x40000000 + 521, -1):
        assert judge(program, machine.audit, number) == KILL


@pytest.mark.parametrize("name", MACHINES)
def test_arguments_are_judged(name: str) -> None:
    machine = MACHINES[name]

    def one(call: str, *arguments: int, processes: int = 1) -> str | int:
        number = SYSCALLS[call][machine.column]
        assert number is not None
        return judge(seccomp_filter(processes, name), machine.audit, number, *arguments)

    thread, child = 0x3D0F00, 0x01200011
    assert [one("clone", thread), one("clone", child), one("clone", 17)] == [ALLOW, 11, 11]
    assert [one("clone", flags, processes=2) for flags in (thread, child, 17)] == [ALLOW] * 3
    for space in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x8000):
        assert one("clone", 17 | space, processes=2) == 1
    assert one("clone3", 1, 88) == 38
    assert [one("kill", pid, 9) for pid in (OWN_PID, 0, 1, -1, -OWN_PID)] == [ALLOW, 1, 1, 1, 1]
    assert [one("tgkill", pid, 5, 9) for pid in (OWN_PID, 7)] == [ALLOW, 1]
    assert [one("prlimit64", 0, 7, new, 9) for new in (0, 1, 1 << 32)] == [ALLOW, 1, 1]
    assert [one("prlimit64", pid, 7, 0, 9) for pid in (OWN_PID, 1)] == [ALLOW, 1]
    assert [one("mmap", 0, 4096, 3, flags) for flags in (0x22, 0x122, 0x2022, 0x40022)] == [ALLOW, 1, 1, 1]
    assert [one("fcntl", 0, command) for command in (0, 1, 2, 3, 1030)] == [ALLOW] * 5
    # F_SETFL, locks, owner, signal, lease, notify, a pipe's size, seals.
    assert {one("fcntl", 0, c) for c in (4, 5, 6, 7, 8, 10, 15, 36, 37, 1024, 1026, 1031, 1033)} == {1}
    # TIOCSTI, FIONBIO, FIOASYNC, a socket's, FS_IOC_SETFLAGS, and a terminal's own TCGETS.
    assert {one("ioctl", 0, r) for r in (0x5412, 0x5421, 0x5452, 0x8912, 0x40086602)} == {1}
    assert one("ioctl", 0, 0x5401) == ALLOW
    assert [one("madvise", 0, 0, a) for a in (4, 12, 100)] == [ALLOW, 1, 1]
    assert [one("prctl", option) for option in (15, 1, 4, 8, 22, 35, 36)] == [ALLOW, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("name", MACHINES)
def test_numbers_are_the_kernels(name: str) -> None:
    path, pattern = HEADERS[name]
    if not path.is_file():
        pytest.skip(f"no {path} here")
    known = {found[1]: int(found[2]) for found in re.finditer(pattern, path.read_text())}
    known.setdefault("newfstatat", known.get("fstatat", -1))
    column = MACHINES[name].column
    ours = {call: pair[column] for call, pair in SYSCALLS.items() if pair[column] is not None}
    ours |= OLDER_SYSCALLS if column == 0 else {}
    assert {call: number for call, number in ours.items() if known[call] != number} == {}


def test_other_machines_are_refused() -> None:
    with pytest.raises(ArcError, match="needs x86-64 or aarch64, and this is s390x"):
        seccomp_filter(1, "s390x")


def test_a_filter_can_be_installed_and_numpy_lives_in_it() -> None:
    program = seccomp_filter(1)
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
    body = f"""
        import ctypes, os
        lines = {program!r}.replace({OWN_PID.to_bytes(4, "little")!r}, os.getpid().to_bytes(4, "little"))
        class Program(ctypes.Structure):
            _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]
        libc = ctypes.CDLL(None)
        assert libc.prctl(38, 1, 0, 0, 0) == 0
        assert libc.prctl(22, 2, ctypes.byref(Program(len(lines) // 8, lines)), 0, 0) == 0
        import numpy as np, threading, json, collections, decimal, re, subprocess, time
        a = np.arange(90_000.0).reshape(300, 300)
        assert (a @ a.T).shape == (300, 300) and np.linalg.svd(a[:20])[1].shape == (20,)
        assert np.fft.fft(a[0]).shape == (300,) and np.random.default_rng(0).random() < 1
        held = []
        thread = threading.Thread(target=lambda: held.append(time.time()))
        thread.start(); thread.join(); time.sleep(0.01)
        assert held and os.getpid() and json.loads(open(os.__file__).read(0) or "1") == 1
        try:
            os.fork()
        except BlockingIOError:
            print("lives")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(body)], capture_output=True, text=True)
    assert done.stdout == "lives\n", done.stderr[-2000:]


def test_the_table_is_of_names_that_have_rules() -> None:
    assert RULES.keys() <= SYSCALLS.keys()
    assert not OLDER_SYSCALLS.keys() & SYSCALLS.keys()
    assert sandbox_filter.MANY_PROCESSES.no_bits & 0x10000000
