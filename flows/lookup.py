"""Where a sample's row lies: from its id to part and row, without reading the parts.

Ids are hashes, so parts' statistics tell nothing of them. The sorted ids of a finished stage,
with part and row, are kept beside it in `ids-of-TABLE.ipc`, made at the first question: 16 bytes
a row, mapped, not read. A stage under way is searched by polars.
"""

import contextlib
import string
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from data.errors import DamagedPart, OutputError, RecipeError
from data.formats import to_arrow
from data.parts import MANIFEST, write_file
from data.schema import show_id
from flows.stored import StoredStage

LONGEST, SHORTEST = 16, 6
_STAMP = b"manifest"
_KEYS = {
    "id": pl.col("id"),
    "seed_id": pl.col("seed_id"),
}
"""What rows are found by."""
Range = tuple[int, int]


def id_ranges(text: str) -> list[Range]:
    """First and last id of what was typed: 16 hex digits, a prefix of 6 at least, or a decimal;
    both where it may be either. Raises RecipeError."""
    word, found = text.lower(), []
    if set(word) <= set(string.hexdigits) and SHORTEST <= len(word) <= LONGEST:
        free = 4 * (LONGEST - len(word))
        first = int(word, 16) << free
        found.append((first, first + (1 << free) - 1))
    if word.isascii() and word.isdecimal() and len(word) != LONGEST and int(word) < 2**64:
        found.append((int(word), int(word)))
    if not found:
        raise RecipeError(
            f"{text!r} is no id",
            fix=f"give {LONGEST} hex digits, the first {SHORTEST} at least, a decimal, or "
            "SHARD:ROW:OFFSET",
        )
    return found


def find(
    stage: StoredStage, ranges: list[Range], *, table: str = "part", column: str = "id"
) -> pl.DataFrame:
    """`part` and `row` of the rows whose `column`, given as `id`, lies in one of the ranges."""
    manifest = stage.manifest
    if manifest is None:
        rows = _ids(stage.files(table), column)
        within = [pl.col("id").is_between(_u64(first), _u64(last)) for first, last in ranges]
        return rows.filter(pl.any_horizontal(within))
    entries = _index(stage, manifest["manifest"], table, column)
    ids = entries["id"].to_numpy()
    pieces = []
    for first, last in ranges:
        start = int(np.searchsorted(ids, np.uint64(first)))
        stop = int(np.searchsorted(ids, np.uint64(last), "right"))
        pieces.append(entries.slice(start, stop - start))
    return pl.concat(pieces).unique(maintain_order=True)


def _u64(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt64)


def _index(stage: StoredStage, stamp: str, table: str, column: str) -> pl.DataFrame:
    """The index on disk where it is of this very manifest, or a new one, kept if that can be."""
    path = stage.path / f"{column}s-of-{table}.ipc"
    with contextlib.suppress(OSError, pa.ArrowException), pa.memory_map(str(path)) as file:
        found = pa.ipc.open_file(file).read_all()
        if (found.schema.metadata or {}).get(_STAMP) == stamp.encode():
            return pl.DataFrame(found)
    entries = _ids(stage.files(table), column).sort("id", "part", "row")
    made = entries.to_arrow().replace_schema_metadata({_STAMP: stamp.encode()})
    with contextlib.suppress(OutputError):  # only the next question would be quicker
        write_file(path, to_arrow(made, max(1, made.num_rows)))
    return entries


def _ids(files: list[Path], column: str) -> pl.DataFrame:
    empty = pl.DataFrame(schema={"id": pl.UInt64, "part": pl.UInt32, "row": pl.UInt32})
    wanted = [
        pl.scan_parquet(path, glob=False).select(
            id=_KEYS[column],
            part=pl.lit(int(path.stem.rpartition("-")[2]), pl.UInt32),
            row=pl.int_range(pl.len(), dtype=pl.UInt32),
        )
        for path in files
    ]
    try:
        return pl.concat([empty, *pl.collect_all(wanted)]).filter(pl.col("id").is_not_null())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(files) from error


def _damaged(files: list[Path]) -> DamagedPart:
    for path in files:
        try:
            pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError):
            return DamagedPart(path)
    return DamagedPart(files[0].parent / MANIFEST)


def one_row(file: Path | None, id: int, column: str = "id") -> dict[str, object] | None:
    """The row of a part, of Parquet or Arrow; None where the part lacks it or is not there yet."""
    rows = rows_of(file, id, column)
    return rows[0] if rows else None


def rows_of(file: Path | None, id: int, column: str = "id") -> list[dict[str, object]]:
    if file is None:
        return []
    scan = pl.scan_parquet if file.suffix == ".parquet" else pl.scan_ipc
    try:
        return scan(file, glob=False).filter(pl.col(column) == _u64(id)).collect().to_dicts()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedPart(file) from error


def shown(found: pl.DataFrame) -> str:
    ids = found["id"].unique(maintain_order=True)
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(show_id(id) for id in ids[:5]) + more
