"""Rows of corpora as frames: the columns that are asked for, named by their paths.

Parquet, Arrow and hub sets stay columns from end to end; rows of other files are gathered. A row
that cannot be read stands in its place with what is wrong with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from data.conversations import TURNS, described, plain_turns
from data.errors import SourceError
from data.rows import Row, find, pick
from data.sources import BATCH_ROWS, read_batches, unpack

AT, PROBLEM, FIX, FOUND = "_at", "_problem", "_fix", "_found"
"""FOUND: what stands in a conversation's place, or in that of one of its turns."""
MARKS = {AT: pl.String, PROBLEM: pl.String, FIX: pl.String, FOUND: pl.String}
Read = tuple[str, Row | SourceError]


@dataclass(frozen=True)
class Columns:
    """Paths to read. `needed` have to be there, with the type that rows of JSON are gathered
    as; `compared` are null where they are not."""

    needed: Mapping[str, Any]
    compared: tuple[str, ...] = field(default=())


def read_file_tables(path: str, form: str | None, columns: Columns) -> Iterator[pl.DataFrame]:
    """The rows of a file, a folder or a glob; AT is FILE:LINE."""
    waiting: list[Read] = []
    for name, number, found in read_batches(path, form):
        if isinstance(found, pa.RecordBatch):
            if waiting:
                yield gather(waiting, columns)
                waiting = []
            ats = pl.format("{}:{}", pl.lit(name), pl.int_range(number, number + found.num_rows))
            yield _framed(found, pl.select(ats.alias(AT)).to_series(), columns)
            continue
        waiting.append((f"{name}:{number}", found))
        if len(waiting) == BATCH_ROWS:
            yield gather(waiting, columns)
            waiting = []
    if waiting:
        yield gather(waiting, columns)


def read_hub_frames(tables: Iterable[pa.Table], columns: Columns) -> Iterator[pl.DataFrame]:
    """The rows of a hub set; AT is the row's number."""
    number = 1
    for table in tables:
        ats = pl.int_range(number, number + table.num_rows).cast(pl.String)
        number += table.num_rows
        (batch,) = table.combine_chunks().to_batches() or [None]
        if batch is not None:
            yield _framed(batch, pl.select(ats.alias(AT)).to_series(), columns)


def gather(rows: Iterable[Read], columns: Columns) -> pl.DataFrame:
    """A frame from rows by themselves."""
    paths = {path: path for path in columns.needed}
    marks: list[tuple[str, str | None, str | None, str | None]] = []
    conversations = [path for path, kind in columns.needed.items() if kind == TURNS]
    picked: list[Row] = []
    for at, found in rows:
        try:
            if isinstance(found, SourceError):
                raise found
            row = pick(found, paths) | {path: find(found, path) for path in columns.compared}
            told = None
            for path in conversations:
                row[path], told = plain_turns(row[path])
                if not _is_turns(row[path]):
                    told = f"{path} is {described(row[path])}"
            picked.append(row)
            marks.append((at, None, None, told))
        except SourceError as error:
            picked.append({})
            marks.append((at, error.what, error.fix, None))
    whole = {
        path: _series([row.get(path) for row in picked], columns.needed.get(path))
        for path in (*columns.needed, *columns.compared)
    }
    return pl.DataFrame(marks, schema=MARKS, orient="row").with_columns(**whole)


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _series(values: list[Any], kind: Any) -> pl.Series:
    """A text is of a text or a number; what does not fit the kind is null."""
    if kind == pl.String:
        values = [None if isinstance(value, dict | list) else value for value in values]
    try:
        if kind is not None and kind.is_nested():
            return _nested(values, kind)
        return pl.Series(values, dtype=kind, strict=False)
    except UnicodeEncodeError:
        return _series([_writable(value) for value in values], kind)


def _nested(values: list[Any], kind: Any) -> pl.Series:
    """Arrow takes the fields that the kind has and passes over others."""
    arrow = pl.Series([], dtype=kind).to_arrow().type
    try:
        return pl.Series(pa.array(values, arrow))
    except pa.ArrowException:
        if len(values) == 1:
            return pl.Series([None], dtype=kind)
        return pl.concat([_nested([value], kind) for value in values])


def _writable(value: Any) -> Any:
    """Lone surrogates, which no column can hold, become the replacement character."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_writable(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _writable(inner) for key, inner in value.items()}
    return value


def _framed(batch: pa.RecordBatch, ats: pl.Series, columns: Columns) -> pl.DataFrame:
    """Raises SourceError where a needed column is missing."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:  # such as a text that is not UTF-8: its row alone is lost
        return gather(zip(ats, unpack(batch), strict=True), columns)
    frame = pl.DataFrame(batch)
    found = {path: resolve(frame.schema, path) for path in columns.needed}
    found |= {
        path: reached if (reached := reach(frame.schema, path)) is not None else pl.lit(None)
        for path in columns.compared
    }
    marks = dict.fromkeys((PROBLEM, FIX, FOUND), pl.lit(None, pl.String))
    return frame.select(pl.lit(ats).alias(AT), **marks, **found)


def resolve(columns: pl.Schema, path: str) -> pl.Expr:
    """The column, or the value below it, of a path. Raises SourceError where there is none."""
    found = reach(columns, path)
    if found is None:
        raise SourceError(f"has no column {path!r}", fix=f"it has {', '.join(columns) or 'none'}")
    return found


def reach(columns: pl.Schema, path: str) -> pl.Expr | None:
    if path in columns:
        return pl.col(path)
    name, *keys = path.split(".")
    kind: Any = columns.get(name)
    found = pl.col(name)
    for key in keys:
        if isinstance(kind, pl.List) and key.isdecimal():
            found, kind = found.list.get(int(key), null_on_oob=True), kind.inner
        elif isinstance(kind, pl.Struct) and key in (inner := dict(kind)):
            found, kind = found.struct.field(key), inner[key]
        else:
            return None
    return found if kind is not None else None
