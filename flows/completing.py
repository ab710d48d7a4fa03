"""Parts of the completions stage: what is known of one, and which of them this build asks for."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from data import schema
from data.leases import POLL, Leases
from flows.exchange import Exchange
from flows.plan import Source
from flows.progress import Progress
from flows.sharing import Waiting
from inference.models import Model
from inference.record import Record


@dataclass
class Part:
    """A part under way; `missing` counts the rows whose exchange is not done."""

    source: Source
    index: int
    rows: list[Exchange]
    missing: int

    def write(self) -> None:
        rows = [exchange.row() for exchange in self.rows]
        table = pa.Table.from_pylist(rows, schema=schema.COMPLETIONS)
        self.source.completions.write(self.index, table)


def load_part(source: Source, index: int, model: Model, record: Record) -> Part:
    """The part's exchanges as far as the record goes."""
    prompts = source.prompts.read(index).to_pylist()
    rows = [Exchange(source, model, prompt) for prompt in prompts]
    going = rows
    while going:
        found = record.find([exchange.ask()[0] for exchange in going])
        for exchange, completion in zip(going, found, strict=True):
            if completion:
                exchange.feed(completion)
        pairs = zip(going, found, strict=True)
        going = [exchange for exchange, c in pairs if c and not exchange.done]
    return Part(source, index, rows, sum(not exchange.done for exchange in rows))


def rows_of_earlier(source: Source, index: int) -> tuple[int, set[int]]:
    """Rows of a part that an earlier build wrote, and the ids of those that failed: a build that
    did not end asks for those again."""
    if not source.completions.has(index):
        return 0, set()
    part = source.completions.read(index)
    return part.num_rows, set(part.filter(pc.is_valid(part["error"]))["id"].to_pylist())


def _version(source: Source, index: int) -> tuple[int, int] | None:
    """Differs once the part is written again; None while it is not there."""
    try:
        found = source.completions.file(index).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


class Division:
    """The open parts: all of them are this build's where it is alone, those that it leases first
    where others build over the same OUT."""

    def __init__(self, leases: Leases | None, progress: Progress) -> None:
        self._leases, self._progress = leases, progress
        self._waiting = Waiting("completions", leases, progress.say) if leases else None
        self._missing: dict[tuple[str, int], tuple[Source, int]] = {}
        self.failed_elsewhere = 0
        """Rows of the parts that other builds wrote."""
        self._found: dict[tuple[str, int], tuple[int, int] | None] = {}

    @property
    def left(self) -> int:
        """Parts that nobody has written yet."""
        return len(self._missing)

    def add(self, source: Source, index: int, missing: int) -> None:
        """`missing`: rows that are to be asked for."""
        self._missing[source.name, index] = source, missing
        self._found[source.name, index] = _version(source, index) if self._leases else None

    def mine(self, record: Record) -> Iterator[tuple[Source, int]]:
        """Those that are free, each as it is asked for; the record knows what others that ended
        have left of it."""
        for (name, index), (source, missing) in list(self._missing.items()):
            if self._leases is None:
                yield source, index
            elif self._leases.claim(self._lease(name, index)):
                if self._is_made(source, index):
                    self._made_elsewhere(source, index, missing)
                    continue
                if self._leases.departed() or record.outdated:
                    record.refresh()
                yield source, index

    def write(self, part: Part) -> None:
        name, index = part.source.name, part.index
        if self._leases is None:
            part.write()
        else:
            held = self._leases.holds(self._lease(name, index))
            if held and part.source.completions.manifest is None:
                part.write()
            self._leases.release(self._lease(name, index))
            if not held:  # whoever took it over makes it: the stage is not done before
                return
        del self._missing[name, index]

    async def rest(self) -> None:
        """Take off the list what others have written; wait a moment where something is left."""
        for (_, index), (source, missing) in list(self._missing.items()):
            if self._leases and self._is_made(source, index):
                self._made_elsewhere(source, index, missing)
        if self._missing and self._waiting:
            self._waiting.tell(len(self._missing))
            self._progress.tick()
            await asyncio.sleep(POLL)

    def leave(self) -> None:
        """Let go of what is not written, for whoever is next; that may be this build."""
        if self._leases:
            for name, index in self._missing:
                self._leases.release(self._lease(name, index))

    def _is_made(self, source: Source, index: int) -> bool:
        """Whether another build has written the part; rows that it lost are a later build's."""
        if source.completions.manifest is not None:
            return True
        rows, lost = rows_of_earlier(source, index)
        anew = _version(source, index) != self._found[source.name, index]
        return rows > 0 and (anew or not lost)

    def _made_elsewhere(self, source: Source, index: int, missing: int) -> None:
        name = source.name
        self.failed_elsewhere += len(rows_of_earlier(source, index)[1])
        if self._leases:
            self._leases.release(self._lease(name, index))
        del self._missing[name, index]
        self._progress.made_elsewhere(name, missing)

    def _lease(self, name: str, index: int) -> str:
        return f"completions.{name}-{index}"
