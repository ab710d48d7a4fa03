"""What is on its way from a copy to its store: files, logs, and the lease that allows it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import ShardmillError, StoreError
from data.lease import Lease
from data.objects import Objects
from data.segments import FOLDER as COMPLETIONS
from data.segments import Segments
from data.uploads import Uploads

SEND_SECONDS = 3.0
"""Logs are sent as often, and what is written again and again."""


class Outgoing:
    """`send` puts one file. What goes wrong in the background is raised by the next call."""

    def __init__(self, objects: Objects, out: Path, send: Callable[[Path], None]) -> None:
        self._objects, self._out = objects, out
        self.uploads = Uploads(send)
        self.segments = Segments(objects, out / COMPLETIONS)
        self.lease = Lease(objects)
        self._later: set[Path] = set()
        self._lock = threading.Lock()
        self._ticker: threading.Thread | None = None

    def add_later(self, path: Path) -> None:
        """A file that is written often: sent with the logs."""
        with self._lock:
            self._later.add(path)
        self._tick()

    def appended(self, log: str, size: int) -> None:
        self.segments.appended(log, size)
        self._tick()

    def fetch_logs(self, listed: list[str]) -> None:
        self.segments.fetch(listed)
        if self.segments.waiting:
            self._tick()

    def flush(self) -> None:
        """Return when all of it is in the store."""
        self._send_now()
        self.uploads.flush()

    @contextlib.contextmanager
    def holding(self, begin: Callable[[], None]) -> Iterator[None]:
        """Hold the lease; `begin` is the first thing to do with it."""
        self.lease = Lease(self._objects)
        self.lease.take()
        try:
            begin()
            self._tick()
            yield
            self.flush()
        except BaseException:
            with contextlib.suppress(ShardmillError):  # the first error is the one to be told
                self.flush()
            raise
        finally:
            self.lease.release()

    def _send_now(self) -> None:
        self.segments.send()
        with self._lock:
            later, self._later = self._later, set()
        if later:
            self.uploads.add(*later)

    def _tick(self) -> None:
        """Keep a thread at work while there is something to be sent now and then."""
        with self._lock:
            if self._ticker is None:
                self._ticker = threading.Thread(
                    target=self._ticking, name="shardmill-store", daemon=True
                )
                self._ticker.start()

    def _ticking(self) -> None:
        while True:
            time.sleep(SEND_SECONDS)
            with self._lock:
                if not (self.lease.held or self._later or self.segments.waiting):
                    self._ticker = None
                    return
            try:
                self.lease.renew()
                self._send_now()
            except ShardmillError as error:
                self.uploads.fail(error)
            except OSError as error:
                self.uploads.fail(StoreError(f"cannot be read ({error})", where=str(self._out)))
