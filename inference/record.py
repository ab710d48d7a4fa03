"""The completion record: every reply on disk when it arrives, found again by what was asked.

One JSON line a completion in `OUT/completions/log-*.jsonl`, each line led by the crc32 of the
rest, so that a line torn by a crash is told from a whole one. A new build opens a new log and
never touches an older one, so its index is kept beside it; the newest line of a key counts.
Writers hand lines to one thread, which groups them into one fsync; a completion is reported as
arrived only after it.
"""

import asyncio
import contextlib
import io
import os
import queue
import re
import secrets
import struct
import threading
import zipfile
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import orjson

from data.errors import OutputError
from data.parts import output_error, write_file
from data.store import appended, fetch_logs

GROUP_SECONDS = 0.02
LOG = re.compile(r"log-(\d{6})-\d+\.jsonl")
TORN = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(NotImplementedError, RuntimeError, OverflowError, MemoryError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What NumPy raises for an .npz that is empty or damaged."""
KEY_AT = len('{"crc":"00000000", "key":"')


@dataclass(frozen=True)
class Completion:
    """`error` holds the server's words where it refused the request; `text` is empty then."""

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    error: str | None = None


def encode(completion: Completion) -> bytes:
    fields = {"key": completion.key, **{n: v for n, v in vars(completion).items() if n != "key"}}
    body = orjson.dumps(fields)[1:]
    return b'{"crc":"%08x", ' % zlib.crc32(body) + body + b"\n"


def is_whole(line: bytes) -> bool:
    """Whether a line is one of ours and as it was written."""
    return (
        line.startswith(b'{"crc":"')
        and line.endswith(b"\n")
        and line[8:16] == b"%08x" % zlib.crc32(line[19:-1])
    )


def decode(line: bytes) -> Completion | None:
    """None for a line that is torn or damaged."""
    return Completion(**orjson.loads(b"{" + line[19:-1])) if is_whole(line) else None


@dataclass(frozen=True)
class _Log:
    """Whole lines of a log: the first 64 bits of each key, and where the line begins."""

    heads: np.ndarray[Any, np.dtype[np.uint64]]
    offsets: np.ndarray[Any, np.dtype[np.uint64]]
    damaged: int


def _index(path: Path) -> _Log:
    """Read from the file beside the log, or made and kept there: a log is read whole once. It
    counts while the log has the size that it was made at; text is checked when it is read."""
    kept, size = path.with_suffix(".index.npz"), path.stat().st_size
    with (
        contextlib.suppress(*TORN),
        open(kept, "rb") as file,
        np.load(file, allow_pickle=False) as found,
    ):
        if int(found["size"]) == size:
            return _Log(found["heads"], found["offsets"], int(found["damaged"]))
    heads, offsets = array("Q"), array("Q")
    offset = damaged = 0
    with open(path, "rb") as handle:
        for line in handle:
            if is_whole(line):
                heads.append(int(line[KEY_AT : KEY_AT + 16], 16))
                offsets.append(offset)
            else:
                damaged += 1
            offset += len(line)
    log = _Log(np.array(heads, np.uint64), np.array(offsets, np.uint64), damaged)
    content = io.BytesIO()
    np.savez(content, heads=log.heads, offsets=log.offsets, damaged=damaged, size=offset)
    with contextlib.suppress(OutputError):  # only the next start would be quicker
        write_file(kept, content.getvalue())
    return log


class Record:
    """Lookup over all logs, and an appending writer. Use it as a context.

    The index holds 28 bytes a completion; text stays on disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        fetch_logs(folder)
        self._files: dict[int, BinaryIO] = {}
        self._own: Path | None = None
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None]
        self._waiting = queue.SimpleQueue()
        self._failure: OutputError | None = None
        self._thread: threading.Thread | None = None
        self.refresh()

    @property
    def outdated(self) -> bool:
        """Whether there are logs that it does not know."""
        return self._listed() != self._logs

    def _listed(self) -> list[Path]:
        paths = sorted(p for p in self._folder.glob("*.jsonl") if LOG.fullmatch(p.name))
        return [path for path in paths if path != self._own]

    def refresh(self) -> None:
        """Index the logs as they are now, but for its own: who asked knows what came."""
        self._close()
        self._logs = self._listed()
        found = [_index(path) for path in self._logs]
        self.damaged = sum(log.damaged for log in found)
        heads = np.concatenate([log.heads for log in found]) if found else np.zeros(0, np.uint64)
        # newest first among equal keys, so that the first match is the one that counts
        order = (len(heads) - 1 - np.argsort(heads[::-1], kind="stable")).astype(np.int64)
        self._heads = heads[order]
        sizes = [len(log.heads) for log in found]
        self._file = np.repeat(np.arange(len(found), dtype=np.uint32), sizes)[order]
        self._offset = np.concatenate([log.offsets for log in found] or [heads])[order]

    def __len__(self) -> int:
        return len(np.unique(self._heads))

    def find(self, keys: Sequence[str]) -> list[Completion | None]:
        """The newest completion of each key, None where there is none."""
        heads = np.array([int(key[:16], 16) for key in keys], np.uint64)
        places = np.searchsorted(self._heads, heads)
        return [self._read(key, place) for key, place in zip(keys, places.tolist(), strict=True)]

    def _read(self, key: str, place: int) -> Completion | None:
        head = int(key[:16], 16)
        while place < len(self._heads) and int(self._heads[place]) == head:
            number = int(self._file[place])
            if number not in self._files:
                self._files[number] = self._logs[number].open("rb")
            handle = self._files[number]
            handle.seek(int(self._offset[place]))
            found = decode(handle.readline())
            if found and found.key == key:
                return found
            place += 1
        return None

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        self._close()

    def _close(self) -> None:
        for handle in self._files.values():
            handle.close()
        self._files.clear()

    async def append(self, completion: Completion) -> None:
        """Returns when the line is on disk. Raises OutputError where it cannot be."""
        if self._failure:
            raise self._failure
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, args=(self._open(),), daemon=True)
            self._thread.start()
        durable = asyncio.get_running_loop().create_future()
        self._waiting.put((encode(completion), durable))
        await durable

    def _open(self) -> Path:
        """A log that did not exist, on whichever machine: a number and 32 random bits."""
        number = int(self._logs[-1].name[4:10]) + 1 if self._logs else 0
        path = self._folder / f"log-{number:06d}-{secrets.randbits(32)}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
        except OSError as error:
            raise output_error(path, error) from error
        self._own = path
        return path

    def _write(self, path: Path) -> None:
        """The writer thread: whatever has gathered goes out in one write and one fsync."""
        with open(path, "ab", buffering=0) as handle:
            while True:
                first = self._waiting.get()
                if first is None:
                    return
                group = [first]
                deadline = threading.Event()
                deadline.wait(GROUP_SECONDS)
                last = False
                while not self._waiting.empty():
                    item = self._waiting.get()
                    if item is None:
                        last = True
                        break
                    group.append(item)
                self._commit(handle.fileno(), path, group)
                if last:
                    return

    def _commit(
        self, file: int, path: Path, group: list[tuple[bytes, asyncio.Future[None]]]
    ) -> None:
        try:
            appended(path, _write_all(file, [line for line, _ in group]))
            error = None
        except OSError as failure:
            error = output_error(path, failure)
        if error and len(group) > 1:  # as many lines as there is room for
            for item in group:
                self._commit(file, path, [item])
            return
        self._failure = self._failure or error
        loop = group[0][1].get_loop()
        loop.call_soon_threadsafe(_settle, [durable for _, durable in group], error)


def _write_all(file: int, lines: list[bytes]) -> int:
    """All lines on disk, or none of them and OSError; the file's size then."""
    start = os.fstat(file).st_size
    try:
        content = memoryview(b"".join(lines))
        while content:
            content = content[os.write(file, content) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, start)
        raise
    return os.fstat(file).st_size


def _settle(group: "list[asyncio.Future[None]]", error: OutputError | None) -> None:
    for durable in group:
        if durable.done():
            continue
        if error:
            durable.set_exception(error)
        else:
            durable.set_result(None)
