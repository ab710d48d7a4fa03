"""A corpus filter's view of a stage: sketches mapped from disk, samples read when asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from data.errors import DamagedPart
from data.parts import Stage
from filters import CorpusFilter

SKETCHES, REFERENCES, TEXTS = "sketches", "references", "referencetexts"


class StoredCorpus:
    """All parts of a build and the references behind them, one column or part at a time."""

    def __init__(
        self, stage: Stage, parts: int, read: Callable[[int], pl.DataFrame], judge: CorpusFilter
    ) -> None:
        self._stage, self._parts, self._read, self._judge = stage, parts, read, judge

    @property
    def scratch(self) -> Path:
        return self._stage.folder

    def sketch_references(self) -> None:
        """Their texts are kept until `remove`: they may be read again out of order."""
        for index, texts in enumerate(self._judge.references()):
            if not self._stage.has(index, REFERENCES, "arrow"):
                self._stage.write_arrow(index, texts.to_arrow(), TEXTS)
                self._stage.write_arrow(index, self._judge.sketch(texts).to_arrow(), REFERENCES)

    def _files(self) -> list[Path]:
        own = [self._stage.file(part, SKETCHES, "arrow") for part in range(self._parts)]
        return own + sorted(self._stage.folder.glob(f"{REFERENCES}-*.arrow"))

    def sketches(self, *columns: str) -> pl.DataFrame:
        """Copied out of the maps, so that their pages are given back."""
        tables = []
        for number, file in enumerate(self._files()):
            table = _map(file)
            marked = table.append_column(
                "reference", pa.array(np.full(table.num_rows, number >= self._parts))
            )
            tables.append(marked.select(columns))
        return pl.DataFrame(pa.concat_tables(tables).combine_chunks())

    def samples(self, rows: npt.NDArray[np.int64]) -> Iterator[pl.DataFrame]:
        start = 0
        for number, file in enumerate(self._files()):
            ids = _map(file).column("id")
            first, last = np.searchsorted(rows, [start, start + len(ids)])
            if first < last:
                wanted = pl.DataFrame({"id": ids.take(pa.array(rows[first:last] - start))})
                yield self._texts(number, file).join(
                    wanted, on="id", how="semi", maintain_order="left"
                )
            start += len(ids)

    def _texts(self, number: int, file: Path) -> pl.DataFrame:
        if number < self._parts:
            return self._read(number)
        name = file.name.replace(REFERENCES, TEXTS)
        return pl.DataFrame(_map(file.with_name(name)))

    def ids(self, part: int) -> pl.DataFrame:
        return pl.DataFrame(_map(self._stage.file(part, SKETCHES, "arrow")).select(["id"]))

    def remove(self) -> None:
        """The sketches: as large as the verdicts are small, and quickly made again."""
        for path in self._stage.folder.glob("*.arrow"):
            path.unlink()


def _map(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise DamagedPart(path) from error
