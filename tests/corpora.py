"""Made samples for the tests of curation, and builds of them without a server."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data import schema
from filters import CorpusFilter, Resolved


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Samples of these columns, the others null; `id` counts and `tokens` are words."""
    columns = dict(pl.DataFrame(schema.SAMPLES.empty_table()).schema)
    blank = dict.fromkeys(columns)
    filled = [
        {**blank, "id": n, "source": "made", "tokens": len((row.get("text") or "").split()), **row}
        for n, row in enumerate(rows)
    ]
    return pl.DataFrame(filled, schema=columns)


class Held:
    """A corpus of parts in memory, references behind."""

    def __init__(self, judge: CorpusFilter, parts: Sequence[pl.DataFrame], scratch: Path) -> None:
        referred = list(judge.references())
        self._parts = [(part, judge.sketch(part)) for part in (*parts, *referred)]
        self._first_reference = len(parts)
        self.scratch = scratch

    def sketches(self, *columns: str) -> pl.DataFrame:
        marked = [
            sketch.with_columns(reference=pl.lit(number >= self._first_reference))
            for number, (_, sketch) in enumerate(self._parts)
        ]
        return pl.concat([part.select(columns) for part in marked])

    def samples(self, rows: "np.ndarray[Any, np.dtype[np.int64]]") -> Iterator[pl.DataFrame]:
        start = 0
        for part, sketch in self._parts:
            inside = rows[(rows >= start) & (rows < start + len(sketch))] - start
            start += len(sketch)
            yield part.filter(pl.col("id").is_in(sketch["id"].gather(inside).to_list()))


def resolve(judge: CorpusFilter, parts: Sequence[pl.DataFrame], scratch: Path) -> Resolved:
    return judge.resolve(Held(judge, parts, scratch))


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
