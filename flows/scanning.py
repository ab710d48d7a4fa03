"""Columns of many parts in one scan: opened one by one, they cost several times as much."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from data.errors import DamagedPart
from data.store import fetch


def scan_parts(
    files: Sequence[Path], columns: Mapping[str, pl.Expr], where: pl.Expr | None = None
) -> pl.DataFrame:
    """The columns and `place`: which of the files, all of one form, a row stands in. Rows keep
    their order. Raises DamagedPart."""
    files = [fetch(file) for file in files]
    scan = _scan(files)
    rows = (scan if where is None else scan.filter(where)).select(pl.col("file"), **columns)
    try:
        found = rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(files) from error
    runs = found["file"].rle().struct.unnest()
    places = {str(file): place for place, file in enumerate(files)}
    of_run = runs["value"].replace_strict(places, return_dtype=pl.UInt32)
    place = pl.DataFrame({"place": of_run, "len": runs["len"]}).select(
        pl.col("place").repeat_by("len").explode(empty_as_null=False)
    )
    return found.drop("file").with_columns(place["place"])


def _scan(files: list[Path]) -> pl.LazyFrame:
    scan = pl.scan_parquet if files[0].suffix == ".parquet" else pl.scan_ipc
    return scan(files, glob=False, include_file_paths="file")


def _damaged(files: Sequence[Path]) -> DamagedPart:
    for file in files:
        try:
            _scan([file]).collect()
        except (pl.exceptions.PolarsError, OSError):
            break
    return DamagedPart(file)
