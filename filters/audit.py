"""Names for what a program in the sandbox may not do, by an audit hook (PEP 578).

The hook ends the program at the first such deed, before it can catch the refusal. It sees what
goes through Python; what does not is refused by filters/confinement.py, only less precisely.
Loaded with the standard library only.
"""

import os
import sys
import sysconfig
from collections.abc import Callable
from typing import Any, NoReturn

READABLE = tuple(
    {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
        *(os.path.join(prefix, "lib") for prefix in (sys.base_prefix, sys.base_exec_prefix)),
        *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"),
        *("/usr/share/zoneinfo", "/etc/localtime", "/dev/urandom"),
    }
)

_STARTS = ("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system")
_REASONS = {
    **dict.fromkeys((*_STARTS, "subprocess.Popen", "pty.spawn"), "starts_process"),
    **dict.fromkeys(("os.kill", "os.killpg"), "signals_process"),
    **dict.fromkeys(
        ("connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname"), "network"
    ),
}
_TOUCHES = ("remove", "rename", "rmdir", "mkdir", "truncate", "link", "symlink", "listdir")
_TWO_PATHS = ("rename", "link", "symlink")
_MAKES = ("mkdir", "link", "symlink")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_UNIX = 1


def watch(
    folder: str, files: int, end: Callable[[str, str], NoReturn]
) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that names a forbidden deed before the kernel refuses it."""
    getcwd, join, normpath, decode = os.getcwd, os.path.join, os.path.normpath, os.fsdecode
    made: set[str] = set()
    count = made.__len__  # a program may put something else in the place of len

    def whole(path: Any) -> str:
        """Absolute; a file that is open already counts as lying in the folder."""
        is_open = path is None or isinstance(path, int)
        return folder if is_open else normpath(join(getcwd(), decode(path)))

    def lies_in(path: str, folders: tuple[str, ...]) -> bool:
        return any(path == top or path.startswith(top + "/") for top in folders)

    def hook(event: str, values: tuple[Any, ...]) -> None:
        family, _, name = event.partition(".")
        if event == "open":
            path, writes = whole(values[0]), bool(values[2] & _WRITES)
            allowed = (folder, os.devnull) if writes else (folder, os.devnull, *READABLE)
            if not lies_in(path, allowed):
                end("file_outside", f"{'writes' if writes else 'reads'} {path}")
            if values[2] & os.O_CREAT:
                made.add(path)
        elif family == "os" and name in _TOUCHES:
            allowed = (folder, *READABLE) if name == "listdir" else (folder,)
            paths = [whole(path) for path in values[: 2 if name in _TWO_PATHS else 1]]
            if not all(lies_in(path, allowed) for path in paths):
                end("file_outside", f"{event} {', '.join(paths)}")
            if name in _MAKES:
                made.add(paths[-1])
        elif family == "ctypes":
            end("native_code", event)
        elif family == "socket" and name == "__new__" and values[1] != _UNIX:
            end("network", "opens a socket")
        elif event in _REASONS or (family == "socket" and name in _REASONS):
            end(_REASONS.get(event) or _REASONS[name], event)
        if count() > files:
            end("too_many_files", f"more than {files}")

    return hook
