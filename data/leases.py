"""Builds on several machines over one OUT: who makes which part.

A lease is a symbolic link that names its holder: made in one step, by one build alone. A holder
lives while it touches its heartbeat file; ages are differences of the file server's own times, so
that no two machines' clocks are compared. The lease of a holder that is silent for EXPIRY seconds
is taken over by making the next one, NAME.1.lease behind NAME.0.lease, which one build alone can
do: nothing is ever replaced. A holder that finds that it was silent for so long gives up.
"""

import contextlib
import fcntl
import itertools
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from data import store
from data.errors import OutputError
from data.parts import output_error, write_file
from data.schema import fingerprint

EXPIRY = 60.0
"""Seconds of silence after which a holder counts as dead."""
ALIVE = 0.8
"""Share of that time after which a holder counts itself as dead, before others do."""
BEATS = 12
"""Heartbeats in that time."""
POLL = 0.5
"""Seconds between looks at what another build has made."""


@contextmanager
def lock(out: Path, *, share: bool = False) -> Iterator[None]:
    """Hold OUT for one build at a time, or with all that `share` it; the kernel lets go when the
    process dies."""
    path = out / "logs" / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a+")  # noqa: SIM115 - closed below, in another with
    except OSError as error:
        raise output_error(path, error) from error
    with handle:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if share else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise OutputError(
                f"another build is running here (process {holder})",
                where=str(out),
                fix="wait for it, choose another --out, or give --share to all that work on it",
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        with store.holding(out):
            yield


class Leases:
    """Those of one build. A context: its heartbeat goes on until the end, then all are free."""

    def __init__(self, out: Path, plan: str, expiry: float = EXPIRY) -> None:
        """`plan` is a name that builds of the same stages share."""
        self.expiry, self._plan = expiry, plan
        self._folder = out / "leases"
        host = re.sub(r"[^\w.-]", "-", socket.gethostname())
        self.holder = f"{host}@{_processes()}@{os.getpid()}@{secrets.token_hex(3)}"
        self._held: dict[str, Path] = {}
        self._dead, self._last_beat = False, 0.0
        self._guard = threading.RLock()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, daemon=True)
        self._seen: set[str] = set()

    def __enter__(self) -> "Leases":
        """Raises OutputError where a live build makes other stages over the same OUT."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self._folder, error) from error
        write_file(self._file(self.holder), self._plan.encode())
        self._last_beat = time.monotonic()
        for other in self.others():
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                if self._file(other).read_text() == self._plan:
                    continue
                self._file(self.holder).unlink()
                raise OutputError(
                    f"{shown(other)} builds something else here",
                    where=str(self._folder.parent),
                    fix="builds that share a folder need the same recipe, changes and version; "
                    "or choose another --out",
                )
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._heart.join()
        for name in list(self._held):
            self.release(name)
        if not self._dead and not self.others():  # those of the dead
            gone = [p for p in self._folder.glob("*.holder") if not self._lives(p.stem)]
            for path in (*self._folder.glob("*.lease"), *gone):
                path.unlink(missing_ok=True)
        self._file(self.holder).unlink(missing_ok=True)

    def claim(self, name: str) -> bool:
        """Whether the lease became this build's by this call. Raises OutputError where this build
        was silent for so long that others may count it as dead."""
        with self._guard:
            if name in self._held:
                return False
            if lost := self.lost():
                raise lost
            for number in itertools.count():
                path = self._path(name, number)
                if self._make(path):
                    self._held[name] = path
                    return True
                holder = _holder(path)
                if holder is None or self._lives(holder):
                    return False
        return False

    def release(self, name: str) -> None:
        with self._guard:
            path = self._held.pop(name, None)
            if path is not None and self._alive():  # a dead holder's leases stay where they are
                path.unlink(missing_ok=True)

    def holds(self, name: str) -> bool:
        """Whether it still is this build's: not where it was silent for too long."""
        with self._guard:
            return name in self._held and self._alive()

    def lost(self) -> OutputError | None:
        """Why this build must end: it was silent for so long that others may count it as dead."""
        if self._alive():
            return None
        return OutputError(
            f"this build was silent for {self.expiry * ALIVE:.0f} s, so that others may have taken "
            "what it was making",
            where=str(self._folder.parent),
            fix="the same command joins them again",
        )

    def others(self) -> list[str]:
        """The holders that live beside this one."""
        names = sorted(path.stem for path in self._folder.glob("*.holder"))
        return [name for name in names if name != self.holder and self._lives(name)]

    def departed(self) -> bool:
        """Whether a holder has ended or died since this was last asked."""
        before, self._seen = self._seen, set(self.others())
        return bool(before - self._seen)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Alone among the builds and threads."""
        while not self.claim(name):
            time.sleep(POLL / 10)
        try:
            yield
        finally:
            self.release(name)

    def _path(self, name: str, number: int) -> Path:
        return self._folder / f"{name}.{number}.lease"

    def _file(self, holder: str) -> Path:
        return self._folder / f"{holder}.holder"

    def _make(self, path: Path) -> bool:
        try:
            path.symlink_to(self.holder)
        except FileExistsError:
            return False
        except OSError as error:
            raise output_error(path, error) from error
        return True

    def _lives(self, holder: str) -> bool:
        if holder == self.holder:
            return True
        _, processes, pid, _ = holder.split("@")
        if processes == _processes() and not Path(f"/proc/{pid}").exists():
            return False
        try:
            with open(self._file(holder)) as file:  # so that the file server is asked
                beat = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return False
        with contextlib.suppress(FileNotFoundError):
            return self._file(self.holder).stat().st_mtime - beat < self.expiry
        return True  # who has no heartbeat cannot tell, and is told so when it claims

    def _keep_beating(self) -> None:
        while not self._ended.wait(self.expiry / BEATS):
            with contextlib.suppress(OSError):  # the file server is away: silence, as others see it
                self._touch()

    def _touch(self) -> None:
        """A sign of life; one that comes too late is none, and who was silent stays dead."""
        file = self._file(self.holder)
        with self._guard:
            try:
                before = file.stat().st_mtime
            except FileNotFoundError:  # removed by hand
                self._dead = True
                return
            os.utime(file)
            silent = file.stat().st_mtime - before
            self._dead = self._dead or silent > self.expiry * ALIVE
            if self._dead:
                file.unlink()
            self._last_beat = time.monotonic()

    def _alive(self) -> bool:
        if not self._dead and time.monotonic() - self._last_beat > self.expiry * ALIVE / 2:
            try:
                self._touch()
            except OSError:
                return False
        return not self._dead


def _holder(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def shown(holder: str) -> str:
    """A holder in words."""
    host, _, pid, _ = holder.split("@")
    return f"process {pid} on {host}"


def _processes() -> str:
    """Names the set of processes that a process id here is one of: this boot's, and this
    container's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return fingerprint([boot, os.readlink("/proc/self/ns/pid")], 8)
    except OSError:
        return secrets.token_hex(4)  # no /proc: every other process may be alive
