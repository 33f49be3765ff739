"""Other processes: their limits, priorities, memory and lives."""


def prlimit_cpu():
    return any(raised(resource.prlimit, pid, resource.RLIMIT_CPU, (10**5, 10**6)) for pid in others())


def prlimit_raw():
    limit = struct.pack("QQ", 10**5, 10**6)
    return any(worked("prlimit64", pid, resource.RLIMIT_CPU, limit, None) for pid in others())


def prlimit_read():
    room = ctypes.create_string_buffer(16)
    return any(worked("prlimit64", pid, 0, None, room) for pid in others())


def priority():
    return any(worked("setpriority", 0, pid, 5) for pid in others())


def priority_of_its_group():
    return worked("setpriority", 1, 0, 5)


def affinity():
    return any(worked("sched_setaffinity", pid, 8, struct.pack("Q", 1)) for pid in others())


def affinity_own():
    # Its own counts too: it is the same call.
    return raised(os.sched_setaffinity, 0, {0})


def scheduler():
    return any(worked("sched_setscheduler", pid, 3, struct.pack("i", 0)) for pid in others())


def scheduler_real_time():
    return worked("sched_setscheduler", 0, 1, struct.pack("i", 1))


def scheduler_parameters():
    return any(worked("sched_setparam", pid, struct.pack("i", 0)) for pid in others())


def scheduler_attributes():
    batch = struct.pack("IIQiIQQQ", 48, 3, 0, 0, 0, 0, 0, 0)
    return any(worked("sched_setattr", pid, batch, 0) for pid in others())


def input_output_priority():
    return any(worked("ioprio_set", 1, pid, (3 << 13)) for pid in others())


def signal_probe():
    return any(raised(os.kill, pid, 0) for pid in others())


def signal_stop():
    return raised(os.kill, os.getppid(), signal.SIGSTOP)


def signal_group():
    return any(raised(os.kill, pid, signal.SIGCONT) for pid in (0, -1, -os.getpgrp()))


def signal_thread():
    return any(worked("tgkill", pid, pid, 0) or worked("tkill", pid, 0) for pid in others())


def signal_queued():
    information = ctypes.create_string_buffer(struct.pack("iii", signal.SIGCONT, 0, -1), 128)
    return any(worked("rt_sigqueueinfo", pid, signal.SIGCONT, information) for pid in others()) or any(
        worked("rt_tgsigqueueinfo", pid, pid, signal.SIGCONT, information) for pid in others()
    )


def signal_by_descriptor():
    handles = [call("pidfd_open", pid, 0) for pid in others()]
    return any(fd >= 0 and worked("pidfd_send_signal", fd, 0, None, 0) for fd in handles)


def signal_by_file_owner():
    import fcntl

    reader, _ = os.pipe()
    return raised(fcntl.fcntl, reader, fcntl.F_SETOWN, TRAINER)


def descriptor_of_another():
    handles = [call("pidfd_open", pid, 0) for pid in others()]
    return any(fd >= 0 and call("pidfd_getfd", fd, 1, 0) >= 0 for fd in handles)


def ptrace_attach():
    return any(worked("ptrace", request, pid, 0, 0) for pid in others() for request in (16, 0x4206))


def ptrace_me():
    return worked("ptrace", 0, 0, 0, 0)


def memory_read():
    room = ctypes.create_string_buffer(8)
    local = struct.pack("QQ", ctypes.addressof(room), 8)
    remote = struct.pack("QQ", id(None), 8)
    return any(worked("process_vm_readv", pid, local, 1, remote, 1, 0) for pid in others())


def memory_write():
    room = ctypes.create_string_buffer(8)
    local = struct.pack("QQ", ctypes.addressof(room), 0)
    return any(worked("process_vm_writev", pid, local, 1, local, 1, 0) for pid in others())


def memory_by_proc():
    return any(
        raised(open, f"/proc/{pid}/{name}", "rb")
        for pid in (*others(), "self", "thread-self")
        for name in ("mem", "maps", "environ", "cmdline", "status", "fd/0", "exe", "root/etc/passwd", "cwd")
    )


def memory_moved():
    nodes = struct.pack("Q", 1)
    return any(
        worked("move_pages", pid, 0, None, None, None, 0) or worked("migrate_pages", pid, 8, nodes, nodes)
        for pid in others()
    )


def memory_advice():
    handle = call("pidfd_open", os.getppid(), 0)
    vector = struct.pack("QQ", 0, 4096)
    return handle >= 0 and worked("process_madvise", handle, vector, 1, 20, 0)


def memory_reaped():
    handle = call("pidfd_open", os.getppid(), 0)
    return handle >= 0 and worked("process_mrelease", handle, 0)


def seen():
    # A process that is there is refused in another way than one that is not.
    def answers(pid):
        found = []
        for name, arguments in (
            ("kill", (pid, 0)),
            ("pidfd_open", (pid, 0)),
            ("prlimit64", (pid, 0, None, None)),
            ("sched_setscheduler", (pid, -1, None)),
            ("setpgid", (pid, -1)),
        ):
            ctypes.set_errno(0)
            found.append((call(name, *arguments) >= 0, ctypes.get_errno()))
        return found

    nobody = (1 << 22) - 1
    return any(answers(pid) != answers(nobody) for pid in others())


def compare():
    return worked("kcmp", os.getpid(), os.getppid(), 1, 0, 0)


def robust_list():
    room = ctypes.create_string_buffer(16)
    return worked("get_robust_list", os.getppid(), room, ctypes.addressof(room))


def group():
    return worked("setpgid", 0, 0) or worked("setpgid", 0, os.getpgid(os.getppid()))


def session():
    return worked("setsid")


def child_by_fork():
    return raised(os.fork)


def child_by_number():
    pid = call("fork")
    if pid == 0:
        os._exit(0)
    return pid > 0


def child_by_vfork():
    return raised(os.posix_spawn, "/bin/true", ["true"], {})


def child_by_clone():
    pid = call("clone", signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0


def child_by_clone3():
    pid = call("clone3", struct.pack("8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if pid == 0:
        os._exit(0)
    return pid > 0


def child_of_the_parent():
    pid = call("clone", 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0


def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                signal.pause()
        os._exit(0)
    return True


def other_program():
    return raised(os.execv, "/bin/true", ["true"])


def other_program_by_descriptor():
    handle = os.open(sys.executable, os.O_RDONLY)
    return worked("execveat", handle, b"", struct.pack("Q", 0), None, 0x1000)


def subprocess_run():
    import subprocess

    return subprocess.run(["true"]).returncode == 0


def worker_pool():
    import multiprocessing

    with multiprocessing.Pool(1) as pool:
        return pool.map(len, [[1]]) == [1]
