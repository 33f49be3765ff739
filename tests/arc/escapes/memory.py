"""Memory past the limit (64 MB here), and memory that stays."""

PAST = 96 << 20  # more than the limit


def raise_address_space():
    return any(
        raised(resource.setrlimit, what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for what in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)
        if resource.getrlimit(what)[1] != resource.RLIM_INFINITY or what != resource.RLIMIT_DATA
    )


def growing_stack():
    # A mapping that grows down as it is touched: no call but the first asks for memory.
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    raised(resource.setrlimit, resource.RLIMIT_STACK, infinite)
    # Private, anonymous, grows down; far from everything else.
    high = LIBC.mmap(ctypes.c_void_p(1 << 40), ctypes.c_size_t(4096), 3, 0x122, -1, 0)
    if high in (None, ctypes.c_void_p(-1).value):
        return False
    for below in range(0, PAST, 4096):
        ctypes.memset(high - below, 1, 1)
    return True


def stack_of_its_own():
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    return raised(resource.setrlimit, resource.RLIMIT_STACK, infinite)


def secret_file():
    handle = call("memfd_secret", 0)
    if handle < 0:
        return False
    os.ftruncate(handle, PAST)
    return True


def memory_file():
    return worked("memfd_create", b"escaped", 0)


def file_in_place_of_random():
    with open("/dev/urandom", "r+b", buffering=0) as file:
        return file.truncate(PAST) > 0


def segment():
    return worked("shmget", 0, PAST, 0o1600)


def message_queue():
    return worked("msgget", 0, 0o1600)


def message_queue_posix():
    return worked("mq_open", b"escaped", 0o102, 0o600, None)


def semaphores():
    return worked("semget", 0, 32000, 0o1600)


def keys():
    return worked("add_key", b"user", b"escaped", b"1" * 100, 100, -3) or worked("keyctl", 0, -3, 1)


def pipes():
    import fcntl

    return raised(fcntl.fcntl, os.pipe()[1], 1031, 1 << 20)


def pinned_pages():
    page = ctypes.create_string_buffer(4096)
    vector = struct.pack("QQ", ctypes.addressof(page), 4096)
    return worked("vmsplice", os.pipe()[1], vector, 1, 0)


def locked():
    page = ctypes.create_string_buffer(4096)
    address = ctypes.addressof(page)
    return worked("mlock", address, 4096) or worked("mlock2", address, 4096, 0) or worked("mlockall", 2)


def locked_mapping():
    return raised(mmap.mmap, -1, 1 << 20, 0x2022)


def huge_pages():
    return raised(mmap.mmap, -1, 2 << 20, 0x40022)


def page_faults():
    return worked("userfaultfd", 0) or worked("userfaultfd", 1)


def policy():
    return worked("set_mempolicy", 0, None, 0) or worked("mbind", 0, 0, 0, None, 0, 0)


def timers():
    return worked("timer_create", 1, None, ctypes.create_string_buffer(8))


def one_large():
    return len(bytearray(PAST)) == PAST


def many_small():
    return len([bytearray(1 << 20) for _ in range(PAST >> 20)]) == PAST >> 20


def shared_mapping():
    room = mmap.mmap(-1, PAST)
    room[::4096] = bytes(len(room[::4096]))
    return True


def in_threads():
    held = []
    threads = [threading.Thread(target=lambda: held.append(bytearray(PAST // 4))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(held) == 4


def forgotten_by_the_count():
    # A file is mapped, which costs nothing, and unmapped, which a careless count takes off.
    size = os.path.getsize(os.__file__)
    with open(os.__file__, "rb") as file:
        for _ in range(1 + PAST // size):
            mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ).close()
    return one_large()


def break_moved():
    LIBC.sbrk.restype = ctypes.c_void_p
    LIBC.sbrk.argtypes = [ctypes.c_long]
    before = LIBC.sbrk(PAST)
    return before != ctypes.c_void_p(-1).value and touch(before, PAST)


def grown_mapping():
    LIBC.mremap.restype = ctypes.c_void_p
    start = LIBC.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, 0)
    moved = LIBC.mremap(ctypes.c_void_p(start), ctypes.c_size_t(4096), ctypes.c_size_t(PAST), 1)
    return moved not in (None, ctypes.c_void_p(-1).value) and touch(moved, PAST)


def merged_pages():
    page = mmap.mmap(-1, 1 << 20)
    return raised(page.madvise, 12)  # equal to another's or not: time tells


def threads_by_number():
    # Each costs the kernel some 20 kB, and the user a process number, of which there are not many.
    if ARM:
        return False
    code = mmap.mmap(-1, 4096, prot=7)
    code.write(b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7")  # again: pause()
    entry = ctypes.addressof(ctypes.c_char.from_buffer(code))
    stack = (ctypes.c_uint64 * 64)(*[entry] * 64)
    count = 0
    while call("clone", 0x50F00, ctypes.addressof(stack) + 256, None, None, None) > 0:
        count += 1
        if count >= 2000:
            return True
    signal.pause()
