"""Files on their way into a store: sent in the background, waited for where order matters."""

import threading
from collections.abc import Callable
from pathlib import Path

from data.errors import ShardmillError

THREADS = 4


class Uploads:
    """`send` puts one file and is called by several threads, never twice at once for a path.

    A file that is added while it is being sent is sent again. After a failure, which the next
    `add` or `flush` raises, what was not sent is still waiting.
    """

    def __init__(self, send: Callable[[Path], None]) -> None:
        self._send = send
        self._waiting: dict[Path, None] = {}
        self._busy: set[Path] = set()
        self._active = 0
        self._failure: ShardmillError | None = None
        self._changed = threading.Condition()

    def add(self, *paths: Path) -> None:
        with self._changed:
            self._waiting.update(dict.fromkeys(paths))
            self._start()
            self._raise()

    def flush(self, folder: Path | None = None) -> None:
        """Return when nothing is waiting or being sent, of a folder or at all."""
        with self._changed:
            self._start()
            while self._failure is None and self._open(folder):
                self._changed.wait()
            self._raise()

    def fail(self, error: ShardmillError) -> None:
        """Let the next call raise what went wrong in the background."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def drop(self, paths: set[Path]) -> None:
        """Forget files that are to be removed; returns when none of them is being sent."""
        with self._changed:
            for path in paths:
                self._waiting.pop(path, None)
            while paths & self._busy:
                self._changed.wait()

    def _open(self, folder: Path | None) -> bool:
        return any(
            folder is None or path.is_relative_to(folder) for path in (*self._waiting, *self._busy)
        )

    def _raise(self) -> None:
        if self._failure is not None:
            error, self._failure = self._failure, None
            raise error

    def _start(self) -> None:
        while self._failure is None and self._active < min(THREADS, len(self._waiting)):
            self._active += 1
            threading.Thread(target=self._work, name="shardmill-upload", daemon=True).start()

    def _next(self) -> Path | None:
        if self._failure is not None:
            return None
        return next((path for path in self._waiting if path not in self._busy), None)

    def _work(self) -> None:
        while True:
            with self._changed:
                path = self._next()
                if path is None:
                    self._active -= 1
                    self._changed.notify_all()
                    return
                del self._waiting[path]
                self._busy.add(path)
            error: ShardmillError | None = None
            try:
                self._send(path)
            except ShardmillError as failure:
                error = failure
            except OSError as failure:
                error = ShardmillError(f"cannot be read ({failure})", where=str(path))
            with self._changed:
                self._busy.discard(path)
                if error is not None:
                    self._waiting[path] = None
                    self._failure = self._failure or error
                self._changed.notify_all()
