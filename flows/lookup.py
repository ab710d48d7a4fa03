"""Where a sample's row lies: from its id to part and row, without reading the parts.

Ids are hashes, so parts' statistics tell nothing of them. The sorted ids of a finished stage,
with part and row, are kept beside it in `ids-of-TABLE-N.ipc`, one file for every SPAN parts: 16
bytes a row, mapped, not read. A build makes them at its end; a question makes those that are
missing or of another manifest. A stage under way is searched by polars.
"""

import contextlib
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from data.errors import DamagedPart, OutputError, RecipeError
from data.formats import to_arrow
from data.parts import write_file
from data.schema import show_id
from data.store import names_in
from flows.scanning import scan_parts
from flows.stored import StoredBuild, StoredStage, read_builds

LONGEST, SHORTEST = 16, 6
SPAN = 1024
"""Parts whose ids are sorted at once, and so held in memory."""
_STAMP = b"manifest"
_KEYS = {
    "id": pl.col("id"),
    "seed_id": pl.col("seed_id"),
}
"""What rows are found by."""
_NONE = pl.DataFrame(schema={"id": pl.UInt64, "part": pl.UInt32, "row": pl.UInt32})
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
    pieces = []
    for entries in _indexes(stage, manifest["manifest"], table, column):
        ids = entries["id"].to_numpy()
        for first, last in ranges:
            start = int(np.searchsorted(ids, np.uint64(first)))
            stop = int(np.searchsorted(ids, np.uint64(last), "right"))
            pieces.append(entries.slice(start, stop - start))
    return pl.concat([_NONE, *pieces]).unique(maintain_order=True)


def index_build(out: Path, name: str) -> None:
    """Make the indexes that questions about a recipe's build will ask; what is there stays.
    Raises DamagedPart."""
    for build in read_builds(out):
        for stage, table, column in _asked(build) if build.name == name else ():
            manifest, names = stage.manifest, names_in(stage.path, f"{table}-[0-9]*.*")
            here = all((stage.path / name).is_file() for name in names)  # none is fetched for this
            if manifest is not None and here:
                for _ in _indexes(stage, manifest["manifest"], table, column):
                    pass


def _asked(build: StoredBuild) -> Iterator[tuple[StoredStage, str, str]]:
    for source in build.facts["sources"]:
        seeds, prompts, samples = (build.of(source, r) for r in ("seeds", "prompts", "samples"))
        if samples:
            yield samples, "part", "id"
        if prompts:
            yield prompts, "digests", "id"
        if seeds and seeds.settings.get("from") is None:
            yield seeds, "part", "id"
        elif samples and seeds:
            yield samples, "part", "seed_id"
    for step in build.facts["steps"]:
        stage = build.stage(step["stage"])
        if step["compares"]:
            yield stage, "part", "id"


def _u64(value: int) -> pl.Expr:
    return pl.lit(value, pl.UInt64)


def _indexes(stage: StoredStage, stamp: str, table: str, column: str) -> Iterator[pl.DataFrame]:
    """The index of each SPAN of parts, as it rests where it is of this very manifest, or a new
    one, kept if that can be."""
    files, mark = stage.files(table), f"{stamp} {SPAN}".encode()
    for number, first in enumerate(range(0, len(files), SPAN)):
        path = stage.path / f"{column}s-of-{table}-{number}.ipc"
        with contextlib.suppress(OSError, pa.ArrowException), pa.memory_map(str(path)) as file:
            found = pa.ipc.open_file(file).read_all()
            if (found.schema.metadata or {}).get(_STAMP) == mark:
                yield pl.DataFrame(found)
                continue
        entries = _ids(files[first : first + SPAN], column).sort("id", maintain_order=True)
        made = entries.to_arrow().replace_schema_metadata({_STAMP: mark})
        with contextlib.suppress(OutputError):  # only the next question would be quicker
            write_file(path, to_arrow(made, max(1, made.num_rows)))
        yield entries


def _ids(files: list[Path], column: str) -> pl.DataFrame:
    """Rows by part and row."""
    if not files:
        return _NONE
    found = scan_parts(files, {"id": _KEYS[column]})
    place = found["place"].to_numpy()
    counts = np.bincount(place, minlength=len(files))
    starts = np.cumsum(counts) - counts
    numbers = np.array([int(file.stem.rpartition("-")[2]) for file in files], np.uint32)
    return pl.DataFrame(
        {
            "id": found["id"],
            "part": numbers[place],
            "row": (np.arange(len(found)) - starts[place]).astype(np.uint32),
        }
    ).filter(pl.col("id").is_not_null())


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
