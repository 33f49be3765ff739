"""Answers and those who read them: forged, torn, flooded, lying; and programs that will not end."""

import re

# What is in the neighbours' sources; written so that it is nowhere in this one.
SECRET = re.compile(rb"NEIGHBOU[R]_SECRE[T]")


def others_jobs():
    # Sources and outputs of the batch's other programs, in whatever Python still holds.
    import gc

    held = [item for o in gc.get_objects() if isinstance(o, list | tuple) for item in o]
    return any(SECRET.search(item.encode("utf-8", "replace")) for item in held if isinstance(item, str))


def others_jobs_in_memory():
    # Freed memory too: the heap is read from its beginning to its end.
    LIBC.sbrk.restype = ctypes.c_void_p
    end = LIBC.sbrk(0)
    return bool(SECRET.search(ctypes.string_at(end - (3 << 19), 3 << 19)))


def others_jobs_in_arenas():
    places = {id(object()) & ~0xFFFFF for _ in range(10_000)} | {id([[i]]) & ~0xFFFFF for i in range(10_000)}
    return any(SECRET.search(ctypes.string_at(place, 1 << 20)) for place in places)


def others_jobs_in_buffers():
    # What is given out unwiped: large blocks, and small ones of every size.
    LIBC.malloc.restype = ctypes.c_void_p
    LIBC.malloc.argtypes = [ctypes.c_size_t]
    sizes = [*range(16, 4096, 16), *(1 << power for power in range(12, 22))]
    blocks = [(LIBC.malloc(size), size) for size in sizes for _ in range(8 if size < 4096 else 1)]
    return any(SECRET.search(ctypes.string_at(block, size)) for block, size in blocks)


def frames():
    frame, names = sys._getframe(), []
    while frame is not None:
        names += [*frame.f_locals, *frame.f_globals]
        frame = frame.f_back
    return any("expected" in name for name in names)


def forge_frames():
    # What the server of candidates would say, on every descriptor: "ended", "ready", "data".
    for kind in b"edr":
        for fd in range(3):
            raised(os.write, fd, bytes([kind]) + struct.pack("<I", 8) + bytes(8))
        raised(os.write, 3, bytes([kind]) + struct.pack("<I", 8) + bytes(8) + b"\n")
    return False


def forge_many():
    for fd in range(64):
        raised(os.write, fd, b"+[[9]]\n" * 1000)
    os._exit(0)


def flood_output():
    while True:
        for fd in (1, 2):
            os.write(fd, b"+[[9]]\n" * 1000)


def flood_answer():
    while True:
        os.write(3, b"x" * 65536)


def flood_answer_lines():
    while True:
        os.write(3, b"+[[9]]\n" * 1000)


def answer_closed():
    os.closerange(0, 64)
    return True


def answer_left_open():
    # In a thread that goes on after the answer was given.
    threading.Thread(target=lambda: any(False for _ in iter(int, 1)), daemon=False).start()
    return False


def answer_without_blocking():
    # A flag of the open pipe would be seen by whoever shares it.
    import fcntl

    return any(raised(fcntl.fcntl, fd, fcntl.F_SETFL, os.O_NONBLOCK) for fd in range(4))


def patched_names():
    import builtins
    import json

    builtins.ascii = builtins.repr = builtins.isinstance = lambda *_: "[[9]]"
    json.loads = json.dumps = lambda *_: [[9]]
    return False


def patched_types():
    for slot in range(0, 400, 8):
        ctypes.memset(id(list) + slot, 0, 8)
    return False


def lying_list():
    class Grid(list):
        def __repr__(self):
            return "[[9]]\n+[[9]]\n+[[9]]"

    return Grid([[1]]) and False


def end():
    os._exit(0)


def end_by_exception():
    raise type("Odd", (BaseException,), {"__str__": lambda self: 1 / 0, "__repr__": lambda self: 1 / 0})


def end_by_generator():
    raise GeneratorExit


def end_by_thread():
    threading.Thread(target=lambda: os._exit(0)).start()
    while True:
        pass


def end_by_signal():
    os.kill(os.getpid(), signal.SIGKILL)


def end_by_segfault():
    ctypes.string_at(0)


def end_by_abort():
    os.abort()


def end_by_recursion():
    sys.setrecursionlimit(10**9)

    def again(n):
        return again(n + 1)

    return again(0)


def end_by_parser():
    return eval("(" * 10**6 + ")" * 10**6)


def end_by_nested_code():
    return eval("+".join(["1"] * 300_000))


def end_by_folding():
    return eval("lambda: " + "**".join(["9"] * 6))()


def end_by_regular_expression():
    import re

    return bool(re.match("(a+)+$", "a" * 64 + "b"))


def endless():
    while True:
        pass


def endless_in_c():
    return bool(10**10**9)


def endless_sleep():
    signal.pause()


def endless_deaf():
    for number in range(1, 65):
        raised(signal.signal, number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        pass


def endless_alarm():
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    while True:
        pass


def endless_threads():
    threading.stack_size(32768)
    for _ in range(1000):
        threading.Thread(target=lambda: any(False for _ in iter(int, 1))).start()
    while True:
        pass


def endless_trace():
    sys.settrace(lambda *_: endless_trace)
    sys.setprofile(lambda *_: None)
    while True:
        pass


def endless_at_exit():
    import atexit

    atexit.register(endless)
    return False


def endless_text():
    class Odd(Exception):
        def __str__(self):
            while True:
                pass

    raise Odd


def fork_bomb():
    while True:
        os.fork()


def fork_bomb_by_number():
    while True:
        call("fork")
        call("clone", signal.SIGCHLD, 0, 0, 0, 0)
