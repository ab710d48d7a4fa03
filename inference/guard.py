"""Run a command so that it cannot outlive us.

    python guard.py COMMAND...        with standard input a socket whose other end its parent holds

The command gets a process group of its own, whose number the parent is told over the socket, in
case this process is killed. When the parent closes its end or dies (even by SIGKILL: the kernel
closes it then), or this process is told to stop, the whole group is asked to stop, and killed
if it does not within GRACE seconds. A socket works from any thread and on any POSIX system,
unlike a parent-death signal.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 8.0


def main(command: list[str]) -> int:
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    with contextlib.suppress(OSError):  # the parent is gone: reading says so below
        os.write(0, f"{child.pid}".encode())
    while child.poll() is None and not stopping:
        ready, _, _ = select.select([0], [], [], 0.2)
        if ready and _closed():
            break
    _stop_group(child)
    return child.returncode if child.returncode is not None else 1


def _closed() -> bool:
    try:
        return not os.read(0, 1)
    except OSError:  # the parent died with something unread
        return True


def _stop_group(child: "subprocess.Popen[bytes]") -> None:
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        until = time.monotonic() + patience
        while time.monotonic() < until and _alive(child):
            time.sleep(0.05)
        if not _alive(child):
            break


def _alive(child: "subprocess.Popen[bytes]") -> bool:
    """Whether any process of the group is left, the command itself or one that it started."""
    child.poll()
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
