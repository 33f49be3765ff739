"""The kernel itself: name spaces, mounts, modules, clocks, capabilities, and other doors into it."""


def root_folder():
    return worked("chroot", text("/lib"))


def mount():
    return worked("mount", b"none", b"/lib", b"tmpfs", 0, None) or worked("umount2", b"/proc", 2)


def mount_newer():
    tree = worked("open_tree", FAR, b"/lib", 1), worked("fsopen", b"tmpfs", 0), worked("fspick", FAR, b"/", 0)
    return any(tree) or worked("move_mount", FAR, b"/lib", FAR, b"/lib64", 0)


def mounts_read():
    return worked("statmount", None, None, 0, 0) or worked("listmount", None, None, 0, 0)


def pivot():
    return worked("pivot_root", b"/lib", b"/lib")


def name_spaces():
    kinds = (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x4000000, 0x8000000, 0x2000000, 0x80)
    return any(worked("unshare", kind) for kind in kinds)


def name_spaces_by_clone():
    for kind in (0x10000000, 0x10000000 | 0x20000000, 0x40000000):
        pid = call("clone", kind | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        if pid > 0:
            return True
    return False


def name_space_entered():
    handle = call("pidfd_open", 1, 0)
    return handle >= 0 and worked("setns", handle, 0x20000)


def capabilities():
    # Those it has, as the kernel says: none.
    held = ctypes.create_string_buffer(24)
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    LIBC.capget(header, held)
    return any(held.raw) or LIBC.prctl(23, 21, 0, 0, 0) == 1 and os.getuid() == 0


def capabilities_regained():
    header = struct.pack("Ii", 0x20080522, 0)
    return worked("capset", header, struct.pack("6I", 1 << 21, 1 << 21, 0, 0, 0, 0))


def privileges_by_new_programs():
    return LIBC.prctl(39, 0, 0, 0, 0) == 0


def users():
    return (
        worked("setuid", 0)
        or worked("setresuid", 0, 0, 0)
        or worked("setgid", 0)
        or worked("setgroups", 0, None)
    )


def users_of_files():
    return call("setfsuid", 1) >= 0 and call("setfsuid", -1) == 1


def modules():
    return worked("init_module", None, 0, b"") or worked("finit_module", library_file(), b"", 0)


def module_removed():
    return worked("delete_module", b"escaped", 0)


def another_kernel():
    return worked("kexec_load", 0, 0, None, 0)


def restart():
    return worked("reboot", 0xFEE1DEAD, 672274793, 0, None)  # ctrl-alt-del off: undone by the next


def clocks():
    # To what they show, so that nothing is lost where it works.
    import time

    return raised(time.clock_settime_ns, time.CLOCK_REALTIME, time.time_ns()) or worked(
        "settimeofday", None, None
    )


def clock_adjusted():
    return worked("adjtimex", ctypes.create_string_buffer(208))


def names():
    name = os.uname().nodename.encode()
    return worked("sethostname", name, len(name)) or worked("setdomainname", b"(none)", 6)


def log():
    return worked("syslog", 3, ctypes.create_string_buffer(64), 64) or worked("syslog", 10, None, 0)


def accounting():
    return worked("acct", None) or worked("swapon", b"/escaped", 0)


def terminal():
    import fcntl

    return worked("vhangup") or any(raised(fcntl.ioctl, fd, 0x5412, b"x") for fd in range(4))


def ports():
    return worked("iopl", 3) or worked("ioperm", 0x80, 1, 1)


def programs_in_the_kernel():
    return worked("bpf", 0, struct.pack("IIII", 2, 4, 8, 1) + bytes(64), 80)


def performance_counters():
    return worked("perf_event_open", struct.pack("II", 1, 112) + bytes(104), 0, -1, -1, 0)


def filters():
    allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
    program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
    return worked("seccomp", 1, 0, program) or LIBC.prctl(22, 2, program, 0, 0) == 0


def listener():
    allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FC00000))
    program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
    return worked("seccomp", 1, 8, program)


def rules():
    return worked("landlock_create_ruleset", None, 0, 1) or worked("lsm_list_modules", None, bytes(4), 0)


def personality():
    return worked("personality", 0x0040000)


def process_options():
    # dumpable, ptracer, subreaper, securebits, keep capabilities, death signal, timer slack, memory map
    options = ((4, 1), (0x59616D61, -1), (36, 1), (28, 0), (8, 1), (1, 0), (29, 1), (35, 8))
    return any(LIBC.prctl(*option, 0, 0, 0) == 0 for option in options)


def segments():
    return worked("modify_ldt", 0, ctypes.create_string_buffer(64), 64)


def numbers_of_another_machine():
    # x32: the same registers, and numbers with a bit more, which a careless list lets through.
    return not ARM and LIBC.syscall(ctypes.c_long(0x40000000 + 39)) > 0


def instructions_of_another_machine():
    if ARM:
        return False
    # mov eax, 20 (getpid of i386); int 0x80; ret
    room = mmap.mmap(-1, 4096, prot=7)
    room.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(room)))
    return function() > 0
