"""Texts from local files and earlier builds, to compare samples with."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from data import remote
from data.errors import SourceError
from data.parts import read_manifest, sha256_file
from data.places import is_url

BATCH = 10_000


def expand(path: str) -> list[Path]:
    """The .jsonl and .parquet files of a path: one file, a folder, a build's OUT, or objects.

    Raises SourceError where there is none.
    """
    if is_url(path):
        objects = [file for file in remote.find(path)[1] if file.suffix in (".jsonl", ".parquet")]
        if objects:
            return [remote.here(file) for file in objects]
    place = Path(path)
    if place.is_file():
        return [place]
    stages = sorted((place / "stages").glob("samples.*"))
    if stages:
        done = [stage for stage in stages if read_manifest(stage) is not None]
        files = [file for stage in done for file in sorted(stage.glob("part-*.parquet"))]
    else:
        files = sorted(f for f in place.glob("**/*") if f.suffix in (".jsonl", ".parquet"))
    if not files:
        raise SourceError(
            "holds no .jsonl or .parquet file",
            where=path,
            fix="name a file, a folder of files, or the folder of a finished build",
        )
    return files


def is_stage(file: Path) -> bool:
    """Whether the file is a part of samples that a build made."""
    return file.parent.parent.name == "stages" and file.parent.name.startswith("samples.")


def digests(paths: Sequence[str]) -> dict[str, str]:
    """sha256 of all files of each path, by the path's last name and its place in the list."""
    found = {}
    for number, path in enumerate(paths):
        whole = hashlib.sha256()
        for file in expand(path):
            whole.update(sha256_file(file).encode())
        found[f"{number} {Path(path).name}"] = whole.hexdigest()
    return found


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Batches of these columns; raises SourceError for a file that cannot be read as asked."""
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    return _read_lines(path, columns)


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for column in columns:
                if column not in names:
                    raise _lacks(path, column, names)
            for batch in file.iter_batches(BATCH, columns=list(columns)):
                batch.validate(full=True)
                yield pl.DataFrame(batch).select(columns)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise SourceError(f"cannot be read as Parquet ({_line(error)})", where=str(path)) from error


def _read_lines(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    try:
        with open(path, "rb") as lines:
            batch: list[dict[str, Any]] = []
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                batch.append(_pick(path, number, line, columns))
                if len(batch) == BATCH:
                    yield pl.DataFrame(batch, infer_schema_length=None)
                    batch = []
            if batch:
                yield pl.DataFrame(batch, infer_schema_length=None)
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _pick(path: Path, number: int, line: bytes, columns: Sequence[str]) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
        if isinstance(row, dict):
            json.dumps([row.get(column) for column in columns], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise SourceError("holds half a surrogate pair", where=f"{path}:{number}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"is not JSON in UTF-8 ({error})", where=f"{path}:{number}") from error
    if not isinstance(row, dict):
        raise SourceError("is not a JSON object", where=f"{path}:{number}")
    for column in columns:
        if column not in row:
            raise _lacks(path, column, row, number)
    return {column: row[column] for column in columns}


def _lacks(
    path: Path, column: str, known: Mapping[str, Any] | Sequence[str], line: int | None = None
) -> SourceError:
    where = f"{path}:{line}" if line else str(path)
    fix = f"it has {', '.join(map(str, known))}"
    return SourceError(f"lacks the column {column!r}", where=where, fix=fix)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def anchor(paths: Sequence[str], find: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(find(path) for path in paths)
