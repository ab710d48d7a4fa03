"""Take rights from the current process for good: Landlock for files, seccomp for system calls.

Both need Linux and no privileges; what they forbid stays forbidden for every thread, whatever
the code in the process does, native code included. Loaded alone, with the standard library only,
by filters/sandbox_zygote.py.

seccomp lets through the calls on a list and no others: a process may compute, use its own files,
start threads and signal itself. It cannot start a process (it is killed, SIGSYS), open a socket,
trace or signal others, raise its limits, or change owners, modes and times of files. Landlock
(Linux 5.13 and newer) lets it write below one folder and read below a few; without Landlock
nothing at all may be opened for writing, and reading is not confined.
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence

_SHARED = {  # x86-64, arm64
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66),
    "sched_yield": (24, 124), "mremap": (25, 216), "msync": (26, 227), "mincore": (27, 232),
    "madvise": (28, 233), "dup": (32, 23), "nanosleep": (35, 101), "getitimer": (36, 102),
    "setitimer": (38, 103), "getpid": (39, 172), "sendfile": (40, 71), "sendto": (44, 206),
    "recvfrom": (45, 207), "shutdown": (48, 210), "getsockname": (51, 204),
    "getpeername": (52, 205), "setsockopt": (54, 208), "getsockopt": (55, 209),
    "exit": (60, 93), "wait4": (61, 260), "uname": (63, 160), "flock": (73, 32),
    "fsync": (74, 82), "fdatasync": (75, 83), "ftruncate": (77, 46), "getcwd": (79, 17),
    "chdir": (80, 49), "fchdir": (81, 50), "umask": (95, 166), "gettimeofday": (96, 169),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgid": (121, 155), "getsid": (124, 156),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44),
    "getpriority": (140, 141), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "gettid": (186, 178), "futex": (202, 98), "sched_getaffinity": (204, 123),
    "getdents64": (217, 61), "set_tid_address": (218, 96), "restart_syscall": (219, 128),
    "fadvise64": (221, 223), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_ctl": (233, 21),
    "waitid": (247, 95), "newfstatat": (262, 79), "readlinkat": (267, 78),
    "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "epoll_pwait": (281, 22),
    "fallocate": (285, 47), "eventfd2": (290, 19), "epoll_create1": (291, 20),
    "dup3": (292, 24), "pipe2": (293, 59), "getcpu": (309, 168), "getrandom": (318, 278),
    "membarrier": (324, 283), "copy_file_range": (326, 285), "statx": (332, 291),
    "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
_X86_ONLY = {
    "stat": 4, "lstat": 6, "poll": 7, "access": 21, "pipe": 22, "select": 23, "dup2": 33,
    "pause": 34, "alarm": 37, "readlink": 89, "getpgrp": 111, "arch_prctl": 158, "time": 201,
    "epoll_create": 213, "epoll_wait": 232, "eventfd": 284,
}  # fmt: skip
_CHANGES_FOLDERS = {
    "mkdirat": (258, 34), "unlinkat": (263, 35), "renameat": (264, 38), "linkat": (265, 37),
    "symlinkat": (266, 36), "renameat2": (316, 276),
}  # fmt: skip
_CHANGES_FOLDERS_X86 = {
    "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88,
}  # fmt: skip
_JUDGED = {
    "openat": (257, 56), "ioctl": (16, 29), "fcntl": (72, 25), "clone": (56, 220),
    "clone3": (435, 435), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129),
    "tgkill": (234, 131), "socketpair": (53, 199), "prlimit64": (302, 261),
}  # fmt: skip
_JUDGED_X86 = {"open": 2, "fork": 57, "vfork": 58}

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _ENOTTY = 1, 38, 25
_LOAD, _AND, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x45, 0x06
_CLONE_THREAD = 0x10000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TERMINAL_QUESTIONS = (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONBIO, FIONREAD, FIONCLEX, FIOCLEX."""
_DUPFD_CLOEXEC = 1030

_Line = tuple[int, int, int, int]
"""A BPF instruction: code, jump if true, jump if false, constant."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ = (1 << 2) | (1 << 3)
"""Landlock's rights to read files and folders; nothing needs the one to execute, bit 0."""
_WRITE_FILE = 1 << 1


def supported() -> str:
    """Why this platform cannot confine a process; empty where it can."""
    if sys.platform != "linux":
        return f"seccomp needs Linux, this is {sys.platform}"
    if platform.machine() not in _ARCHITECTURES:
        return f"no list of system calls for {platform.machine()}"
    return ""


def forbid_new_rights() -> None:
    """What both mechanisms ask for first; the process also dies with its parent."""
    _prctl(38, 1)
    _prctl(1, 9)


def confine_files(folder: str, readable: Iterable[str]) -> bool:
    """Writing only below `folder`, reading only there and below `readable`; False where the
    kernel has no Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    wanted = ctypes.create_string_buffer(struct.pack("=Q", rights), 8)
    ruleset = _done(libc.syscall(_CREATE_RULESET, wanted, 8, 0))
    rules = [(path, _READ) for path in readable] + [(folder, rights & ~(1 << 0))]
    rules.append(("/dev/null", _READ | _WRITE_FILE))
    for path, allowed in rules:
        if not os.path.exists(path):
            continue
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        files_only = allowed if os.path.isdir(path) else allowed & 0b110
        rule = ctypes.create_string_buffer(struct.pack("=Qi", files_only & rights, fd), 12)
        _done(libc.syscall(_ADD_RULE, ruleset, 1, rule, 0))
        os.close(fd)
    _done(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)
    return True


def confine_calls(may_write: bool) -> None:
    """Only the listed system calls; `may_write` where Landlock guards the files."""
    lines = _program(platform.machine(), os.getpid(), may_write)
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(code, len(code))
    packed = struct.pack("@HP", len(lines), ctypes.addressof(buffer))
    _prctl(22, 2, ctypes.create_string_buffer(packed, len(packed)))


def _program(machine: str, pid: int, may_write: bool) -> list[_Line]:
    column, audit = _ARCHITECTURES[machine]
    simple = {name: numbers[column] for name, numbers in _SHARED.items()}
    judged = {name: numbers[column] for name, numbers in _JUDGED.items()}
    if may_write:
        simple |= {name: numbers[column] for name, numbers in _CHANGES_FOLDERS.items()}
    if machine == "x86_64":
        simple |= _X86_ONLY | (_CHANGES_FOLDERS_X86 if may_write else {})
        judged |= _JUDGED_X86
    lines: list[_Line] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), _give(_KILL), (_LOAD, 0, 0, 0)]
    for number in simple.values():
        lines += [(_EQUAL, 0, 1, number), _give(_ALLOW)]
    blocks = _blocks(pid, may_write)
    for name, number in judged.items():
        lines += [(_EQUAL, 0, len(blocks[name]), number), *blocks[name]]
    return [*lines, _give(_ERRNO | _EPERM)]


def _blocks(pid: int, may_write: bool) -> dict[str, list[_Line]]:
    """What is asked of the arguments of calls that are allowed in part; each block returns."""
    kill, refuse = [_give(_KILL)], _give(_ERRNO | _EPERM)
    own = [_load(0), (_EQUAL, 0, 1, pid), _give(_ALLOW), refuse]

    def reads(flags: int) -> list[_Line]:
        if may_write:
            return [_give(_ALLOW)]
        return [_load(flags), (_ANY_BIT, 0, 1, _WRITES), refuse, _give(_ALLOW)]

    asked = [
        line for value in _TERMINAL_QUESTIONS for line in ((_EQUAL, 0, 1, value), _give(_ALLOW))
    ]
    thread = [_load(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), _give(_ALLOW), *kill]
    locks = [(_GREATER, 1, 0, 7), _give(_ALLOW), (_EQUAL, 0, 1, _DUPFD_CLOEXEC), _give(_ALLOW)]
    stream = [_load(1), (_AND, 0, 0, 15), (_EQUAL, 0, 1, 1), _give(_ALLOW), refuse]
    no_limit = [_load(2), (_EQUAL, 0, 3, 0), _load(2, 4), (_EQUAL, 0, 1, 0), _give(_ALLOW), refuse]
    return {
        "open": reads(1),
        "openat": reads(2),
        "ioctl": [_load(1), *asked, _give(_ERRNO | _ENOTTY)],
        "fcntl": [_load(1), *locks, refuse],
        "clone": thread,
        "clone3": [_give(_ERRNO | _ENOSYS)],  # its flags lie in memory: glibc then takes clone
        "fork": kill,
        "vfork": kill,
        "execve": kill,
        "execveat": kill,
        "kill": own,
        "tgkill": own,
        "socketpair": [_load(0), (_EQUAL, 1, 0, 1), refuse, *stream],  # AF_UNIX, SOCK_STREAM
        "prlimit64": no_limit,
    }


def _give(action: int) -> _Line:
    return (_RETURN, 0, 0, action)


def _load(argument: int, half: int = 0) -> _Line:
    """The lower four bytes of an argument of the call, or with `half` 4 the upper ones."""
    return (_LOAD, 0, 0, 16 + 8 * argument + half)


def _prctl(option: int, *arguments: object) -> None:
    filled: Sequence[object] = [*arguments, 0, 0, 0, 0][:4]
    libc = ctypes.CDLL(None, use_errno=True)
    values = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in filled]
    _done(libc.prctl(option, *values))


def _done(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
