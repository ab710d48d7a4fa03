"""Logs of completions in a store: objects are never appended to, so a log is sent in pieces.

A log `completions/log-000003-42.jsonl` becomes `completions/log-000003-42.jsonl/START-END`, each
piece put once under the bytes that it holds. Many small pieces are put again as one, and removed
behind it. A log that is put together from its pieces is the log itself, as far as it was sent.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from data.errors import StoreError
from data.objects import Objects, in_parallel

FOLDER = "completions"
PIECE = re.compile(rf"{FOLDER}/(log-[^/]+\.jsonl)/(\d{{14}})-(\d{{14}})")
LARGEST = 1 << 26
"""Bytes of one piece."""
MANY = 100
"""Pieces that are put together into one."""

Span = tuple[int, int]


class Segments:
    """Of the logs in `folder`, a build's completions."""

    def __init__(self, objects: Objects, folder: Path) -> None:
        self._objects, self._folder = objects, folder
        self._sent: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._tails: dict[str, list[Span]] = defaultdict(list)
        self._sending = threading.Lock()

    @property
    def waiting(self) -> bool:
        return any(size > self._sent.get(name, 0) for name, size in list(self._durable.items()))

    def appended(self, name: str, size: int) -> None:
        """The first `size` bytes of a log are on the disk and stay as they are."""
        self._durable[name] = size

    def send(self) -> None:
        """Put what has come since the last time."""
        with self._sending:
            for name, size in list(self._durable.items()):
                while (start := self._sent.get(name, 0)) < size:
                    self._put(name, (start, min(size, start + LARGEST)))
                    self._tails[name].append((start, self._sent[name]))
                if len(self._tails[name]) >= MANY:
                    self._join(name)

    def _put(self, name: str, span: Span) -> None:
        start, end = span
        with open(self._folder / name, "rb") as file:
            file.seek(start)
            content = file.read(end - start)
        self._objects.put(_piece(name, span), content)
        self._sent[name] = max(self._sent.get(name, 0), end)

    def _join(self, name: str) -> None:
        """The small pieces at the end as one, as large as one may be."""
        spans, self._tails[name] = self._tails[name], []
        whole = (spans[0][0], spans[-1][1])
        if whole[1] - whole[0] <= LARGEST:
            self._put(name, whole)
            self._objects.remove([_piece(name, span) for span in spans])

    def fetch(self, listed: Iterable[str]) -> None:
        """Make the logs here as long as those in the store; what is longer here is to be sent."""
        pieces: dict[str, list[Span]] = defaultdict(list)
        for found in listed:
            if match := PIECE.fullmatch(found):
                pieces[match[1]].append((int(match[2]), int(match[3])))
        here = {path.name for path in self._folder.glob("log-*.jsonl")}
        self._folder.mkdir(parents=True, exist_ok=True)
        in_parallel(lambda name: self._complete(name, pieces[name]), sorted({*pieces, *here}))

    def _complete(self, name: str, spans: list[Span]) -> None:
        path, end = self._folder / name, 0
        with open(path, "ab") as log:
            size = log.tell()
            while (span := _reaching(spans, end)) is not None:
                if span[1] > size:
                    content = self._objects.read(_piece(name, span))
                    if content is None or len(content) != span[1] - span[0]:
                        where = f"{self._objects.address}/{_piece(name, span)}"
                        raise StoreError("is gone or cut short", where=where, fix="run it again")
                    log.write(content[size - span[0] :])
                    size = span[1]
                end = span[1]
        self._sent[name], self._durable[name] = end, size


def _reaching(spans: list[Span], end: int) -> Span | None:
    """The piece that begins at or before `end` and goes on farthest behind it."""
    fitting = [span for span in spans if span[0] <= end < span[1]]
    return max(fitting, key=lambda span: span[1], default=None)


def _piece(name: str, span: Span) -> str:
    return f"{FOLDER}/{name}/{span[0]:014d}-{span[1]:014d}"
