"""The completion record: every reply on disk when it arrives, found again by what was asked.

One JSON line a completion in `OUT/completions/log-*.jsonl`, each line led by the crc32 of the
rest, so that a line torn by a crash is told from a whole one. A new build opens a new log and
never touches an older one; the newest line of a key counts. Writers hand lines to one thread,
which groups them into one fsync; a completion is reported as arrived only after it.
"""

import asyncio
import json
import os
import queue
import threading
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from data.errors import OutputError
from data.parts import output_error

GROUP_SECONDS = 0.02


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
    body = json.dumps(asdict(completion), ensure_ascii=True)[1:].encode()
    return b'{"crc":"%08x", ' % zlib.crc32(body) + body + b"\n"


def decode(line: bytes) -> Completion | None:
    """None for a line that is torn or damaged."""
    if not line.startswith(b'{"crc":"') or not line.endswith(b"\n"):
        return None
    body = line[19:-1]
    if line[8:16] != b"%08x" % zlib.crc32(body):
        return None
    fields = json.loads(b"{" + body)
    return Completion(**fields)


class Record:
    """Lookup over all logs, and an appending writer. Use it as a context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[bytes, tuple[int, int]] = {}
        self._logs: list[Path] = sorted(folder.glob("log-*.jsonl"))
        self.damaged = 0
        for number, path in enumerate(self._logs):
            for offset, completion in self._scan(path):
                self._places[bytes.fromhex(completion.key)] = (number, offset)
        self._waiting: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None]
        self._waiting = queue.SimpleQueue()
        self._failure: OutputError | None = None
        self._thread: threading.Thread | None = None

    def _scan(self, path: Path) -> Iterator[tuple[int, Completion]]:
        offset = 0
        with open(path, "rb") as handle:
            for line in handle:
                completion = decode(line)
                if completion is None:
                    self.damaged += 1
                else:
                    yield offset, completion
                offset += len(line)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Completion | None:
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        with open(self._logs[place[0]], "rb") as handle:
            handle.seek(place[1])
            return decode(handle.readline())

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
        """A log that did not exist: number and process id in the name."""
        number = int(self._logs[-1].name[4:10]) + 1 if self._logs else 0
        path = self._folder / f"log-{number:06d}-{os.getpid()}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise output_error(path, error) from error
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
        error: OutputError | None = self._failure
        if error is None:
            start = os.fstat(file).st_size
            try:
                content = memoryview(b"".join(line for line, _ in group))
                while content:
                    content = content[os.write(file, content) :]
                os.fsync(file)
            except OSError as failure:
                os.ftruncate(file, start)
                error = self._failure = output_error(path, failure)
        for _, durable in group:
            durable.get_loop().call_soon_threadsafe(_settle, durable, error)


def _settle(durable: "asyncio.Future[None]", error: OutputError | None) -> None:
    if durable.done():
        return
    if error:
        durable.set_exception(error)
    else:
        durable.set_result(None)
