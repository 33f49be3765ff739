"""The program that runs inside the sandbox; `arc.sandbox` sends its text to `python -c`.

Python is started once, for many programs: `serve` forks for each job that it reads from standard input, and
goes on in the fork alone. The server itself runs nothing of a job and looks into none; it passes on what the
fork answers, wipes what it has seen, and says how the fork ended. Messages to it are `j` (a job), and `k`
(kill the fork); from it `r` (ready), `p` (a fork's pid), `d` (data of an answer), and `e` (the end of a job).

A job is the pair (source, inputs) as `marshal` writes it. Each input is answered by one line of ASCII: `+`
and the output as Python shows it, or `-` and an error. The source can forge the answers, so whoever reads
them has to check them.
"""

import ctypes
import gc
import marshal
import os
import random
import resource
import select
import signal

FILE = "<solution>"
CHUNK = 1 << 16
# Less would come from memory that Python has mapped and not used.
ROOM = 1 << 20
COMMON = ("collections", "copy")
LIBC = ctypes.CDLL(None, use_errno=True)
# prctl(2); for pidfd_open(2), whose number is the same on all machines, Python has a function not everywhere.
DEATH_SIGNAL, FILTER, DROP_CAPABILITY, NO_NEW_PRIVILEGES, AMBIENT = 1, 22, 24, 38, 47
PIDFD_OPEN = 434


def serve() -> bytes:
    """Read the settings, then jobs until there are no more; return a job, in a fork made for it."""
    program, own_pid, limits = marshal.loads(receive(length()))
    drop_privileges()
    # At its end already, for programs that read it.
    nothing, writer = os.pipe()
    os.close(writer)
    server, passing = os.getpid(), bytearray(CHUNK)
    # What most programs import, and what the first compilation sets up, is there in every fork.
    for name in COMMON:
        __import__(name)
    compile("0", FILE, "exec")
    gc.freeze()
    need_room(dict(limits)[resource.RLIMIT_AS])
    send(b"r")
    while True:
        kind = os.read(0, 1)
        if not kind:
            os._exit(0)
        if kind == b"k":
            continue  # for a job that ended in the meantime
        job = receive(length())
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            confine(server, nothing, writer, limits, program, own_pid)
            return bytes(job)
        os.close(writer)
        job[:] = bytes(len(job))
        send(b"p" + pid.to_bytes(4, "little"))
        watch(pid, reader, passing)


def need_room(memory: int) -> None:
    """End as the limit on memory would, where what Python has mapped by itself leaves no room below it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (capped(memory, hard), hard))
    try:
        bytearray(ROOM)
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def capped(limit: int, hard: int) -> int:
    """Give a limit that is no higher than the one there is; -1 stands for none."""
    return hard if limit == -1 else limit if hard == -1 else min(limit, hard)


def watch(pid: int, reader: int, passing: bytearray) -> None:
    """Pass on what a fork answers until it ends, kill it where that is asked for, and tell how it ended."""
    ended = LIBC.syscall(PIDFD_OPEN, pid, 0)
    poll = select.poll()
    for fd in (0, reader, ended):
        poll.register(fd, select.POLLIN)
    ready: list[int] = []
    while ended not in ready:
        ready = [fd for fd, _ in poll.poll()]
        if 0 in ready:
            asked = os.read(0, 1)
            os.kill(pid, signal.SIGKILL)
            if not asked:
                os._exit(0)
        if reader in ready and not relay(reader, passing):
            poll.unregister(reader)
    # What it wrote before it ended is in the pipe: so much, and no more, since others may go on writing.
    os.set_blocking(reader, False)
    for _ in range(CHUNK >> 12):
        if not relay(reader, passing):
            break
    os.close(reader)
    os.close(ended)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    milliseconds = int(1000 * (usage.ru_utime + usage.ru_stime))
    send(b"e" + code.to_bytes(4, "little", signed=True) + milliseconds.to_bytes(4, "little"))


def relay(reader: int, passing: bytearray) -> int:
    """Pass on what there is to read, leave none of it in memory, and return how much it was."""
    try:
        size = os.readv(reader, [passing])
    except BlockingIOError:
        return 0
    if size:
        send(b"d" + size.to_bytes(4, "little"))
        with memoryview(passing) as view:
            send(view[:size])
            view[:size] = bytes(size)
    return size


def receive(size: int) -> bytearray:
    """Read so many bytes from standard input, into memory that can be wiped."""
    message = bytearray(size)
    with memoryview(message) as view:
        done = 0
        while done < size:
            read = os.readv(0, [view[done:]])
            if not read:
                os._exit(0)
            done += read
    return message


def length() -> int:
    """Read how long the message is that follows."""
    return int.from_bytes(receive(4), "little")


def send(message: bytes | memoryview) -> None:
    """Write all of a message to standard output."""
    while message:
        message = message[os.write(1, message) :]


def drop_privileges() -> None:
    """Give up all capabilities, which root has, for good. Raises OSError where some remain."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    # Without CAP_SETPCAP nothing can be dropped from the bounding set, nor gained by it.
    for capability in range(64):
        LIBC.prctl(DROP_CAPABILITY, capability, 0, 0, 0)
    LIBC.prctl(AMBIENT, 4, 0, 0, 0)
    if LIBC.capset(header, none) or LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "capabilities are not dropped")


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]


def confine(
    server: int, nothing: int, answers: int, limits: list[tuple[int, int]], program: bytes, own_pid: bytes
) -> None:
    """Make this fork what a source may run in: own limits, one pipe out, and the filter, from here on."""
    LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    os.dup2(nothing, 0)
    # What the source prints goes where standard error goes, to the null device.
    os.dup2(2, 1)
    os.dup2(answers, 3)
    os.closerange(4, 64)
    for what, limit in limits:
        limit = capped(limit, resource.getrlimit(what)[1])
        resource.setrlimit(what, (limit, limit))
    # Chance is the same each time: the filter lets nobody ask the kernel for it.
    random.seed(0)
    os.urandom = random._urandom = random.Random(0).randbytes  # type: ignore[attr-defined]
    random.Random.seed = seed  # type: ignore[assignment,method-assign]
    random.seed = random._inst.seed
    lines = program.replace(own_pid, os.getpid().to_bytes(4, "little"))
    filter = Program(len(lines) // 8, lines)
    if LIBC.prctl(FILTER, 2, ctypes.byref(filter), 0, 0):
        os._exit(1)


SEED = random.Random.seed


def seed(self: random.Random, a: int | None = None, version: int = 2) -> None:
    """Initialise as `random.Random.seed` does, without a seed by what stands for chance here."""
    SEED(self, int.from_bytes(os.urandom(16), "little") if a is None else a, version)


def describe(error: BaseException) -> str:
    """Give an error's type, message and line in the source, in one line."""
    lines = [error.lineno] if isinstance(error, SyntaxError) and error.filename == FILE else []
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == FILE:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    try:
        message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())[:200]
    except BaseException:
        message = "(its message cannot be shown)"
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{text}, line {lines[-1]}" if lines else text


def failure(error: BaseException) -> str:
    """Write the line that answers an input with an error, whatever the error is."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == 12):
        # As if the limit itself had killed it.
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        return "-" + describe(error)
    except BaseException:
        return "-an error that cannot be shown"


def show(output: object) -> str:
    """Write an output in one line, its tuples as lists; a grid reads the same in JSON."""
    if isinstance(output, list | tuple):
        output = [list(row) if isinstance(row, tuple) else row for row in output]
    return " ".join(ascii(output).split())


def main(job: bytes) -> None:
    """Run the job. Never raises, whatever the source does short of ending the process."""
    source, inputs = marshal.loads(job)
    # In bytes: to look up an encoding reads a module.
    answers = os.fdopen(3, "wb")

    def answer(line: str) -> None:
        answers.write(line.encode("ascii", "backslashreplace") + b"\n")
        answers.flush()

    try:
        code = compile(source, FILE, "exec")
    except BaseException as error:
        # A MemoryError is the parser's word for a source that is nested too deeply.
        answer("-" + describe(error))
        return
    try:
        namespace: dict[str, object] = {"__name__": "solution"}
        exec(code, namespace)
        solve = namespace.get("solve")
        if not callable(solve):
            raise NameError("the source defines no function solve")
    except BaseException as error:
        answer(failure(error))
        return
    for grid in inputs:
        try:
            line = "+" + show(solve(grid))
        except BaseException as error:
            line = failure(error)
        answer(line)


if __name__ == "__main__":
    main(serve())
    # Without the shutdown of the interpreter, which would wait for threads the source started.
    os._exit(0)
