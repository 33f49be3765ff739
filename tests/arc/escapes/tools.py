"""What the attempts share: its text stands in front of each, and the runner's names in front of it.

The runner gives TRAINER (the pid of the process that asked for the run), VICTIM (a file of the user's),
PORT (of a TCP server on 127.0.0.1) and SOCKET (a Unix server's path).
"""

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading

# Name -> number on x86-64 and on aarch64, None where there is none; written down apart from the sandbox's.
NUMBERS = {
    "accept4": (288, 242), "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171),
    "bind": (49, 200), "bpf": (321, 280), "capset": (126, 91), "chdir": (80, 49), "chmod": (90, None),
    "chown": (92, None), "chroot": (161, 51), "clock_settime": (227, 112), "clone": (56, 220),
    "clone3": (435, 435), "connect": (42, 203), "creat": (85, None), "delete_module": (176, 106),
    "execve": (59, 221), "execveat": (322, 281), "fanotify_init": (300, 262), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "fchown": (93, 55), "fchownat": (260, 54),
    "finit_module": (313, 273), "flock": (73, 32), "fork": (57, None), "fsetxattr": (190, 7),
    "fsopen": (430, 430), "fspick": (433, 433), "futimesat": (261, None), "get_robust_list": (274, 100),
    "init_module": (175, 105), "inotify_add_watch": (254, 27), "inotify_init1": (294, 26),
    "io_setup": (206, 0), "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None),
    "ioprio_set": (251, 30), "kcmp": (312, 272), "kexec_load": (246, 104), "keyctl": (250, 219),
    "kill": (62, 129), "landlock_create_ruleset": (444, 444), "lchown": (94, None), "link": (86, None),
    "linkat": (265, 37), "listen": (50, 201), "listmount": (458, 458), "lsetxattr": (189, 6),
    "lsm_list_modules": (461, 461), "mbind": (237, 235), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "migrate_pages": (256, 238), "mkdir": (83, None), "mkdirat": (258, 34),
    "mknod": (133, None), "mknodat": (259, 33), "mlock": (149, 228), "mlock2": (325, 284),
    "mlockall": (151, 230), "mmap": (9, 222), "modify_ldt": (154, None), "mount": (165, 40),
    "move_mount": (429, 429), "move_pages": (279, 239), "mq_open": (240, 180), "mremap": (25, 216),
    "msgget": (68, 186), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "openat2": (437, 437), "perf_event_open": (298, 241), "personality": (135, 92),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41), "prctl": (157, 167), "prlimit64": (302, 261), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "ptrace": (101, 117), "quotactl": (179, 60), "reboot": (169, 142), "remap_file_pages": (216, 234),
    "removexattr": (197, 14), "rename": (82, None), "renameat2": (316, 276), "rmdir": (84, None),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "seccomp": (317, 277), "semget": (64, 190), "sendfile": (40, 71), "sendmmsg": (307, 269),
    "sendmsg": (46, 211), "sendto": (44, 206), "set_mempolicy": (238, 237), "setdomainname": (171, 162),
    "setfsuid": (122, 151), "setgid": (106, 144), "setgroups": (116, 159), "sethostname": (170, 161),
    "setns": (308, 268), "setpgid": (109, 154), "setpriority": (141, 140), "setresuid": (117, 147),
    "setsid": (112, 157), "settimeofday": (164, 170), "setuid": (105, 146), "setxattr": (188, 5),
    "setxattrat": (463, 463), "shmget": (29, 194), "socket": (41, 198), "socketpair": (53, 199),
    "splice": (275, 76), "statfs": (137, 43), "statmount": (457, 457), "swapon": (167, 224),
    "symlink": (88, None), "symlinkat": (266, 36), "syncfs": (306, 267), "sysfs": (139, None),
    "syslog": (103, 116), "tgkill": (234, 131), "timer_create": (222, 107), "tkill": (200, 130),
    "truncate": (76, 45), "umount2": (166, 39), "unlink": (87, None), "unlinkat": (263, 35),
    "unshare": (272, 97), "userfaultfd": (323, 282), "utime": (132, None), "utimensat": (280, 88),
    "utimes": (235, None), "vfork": (58, None), "vhangup": (153, 58), "vmsplice": (278, 75),
}  # fmt: skip
ARM = os.uname().machine == "aarch64"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.mmap.restype = ctypes.c_void_p
FAR = -100  # AT_FDCWD: relative to the working folder


def call(name, *arguments):
    """Do a system call by its number; -1 where it failed, or does not exist here."""
    number = NUMBERS[name][ARM]
    if number is None:
        return -1
    long = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return LIBC.syscall(ctypes.c_long(number), *long)


def worked(name, *arguments):
    """Tell whether a system call did not fail."""
    return call(name, *arguments) >= 0


def text(path):
    """Write a path as C wants it."""
    return ctypes.c_char_p(path.encode())


def others():
    """List processes that are not this one's business: whose run it is, and what it was forked from."""
    return [TRAINER, os.getppid()]


def library_file():
    """Open a file that the sandbox lets everybody read, and that the user owns."""
    return os.open(os.__file__, os.O_RDONLY)


def raised(function, *arguments):
    """Do something, and tell whether it raised no error."""
    try:
        function(*arguments)
    except (OSError, ValueError):
        return False
    return True


def touch(address, size):
    """Write to each page of some memory."""
    for offset in range(0, size, 4096):
        ctypes.memset(address + offset, 1, 1)
    return True
