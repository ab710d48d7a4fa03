"""Rows of seeds and corpora from files: JSON (Lines), CSV, Parquet, Arrow, text, folders, globs.

A path may be an `s3://` address: its objects are fetched to files (data/remote.py). Every reader
streams; a row that cannot be read is a SourceError in its place, for the caller to raise or to
count.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from data import places, remote
from data.errors import SourceError
from data.places import is_url
from data.rows import Row, read_json

Found = tuple[str, Row | SourceError]
"""Where a row stands (`FILE:LINE`, the file as its path below the source) and the row."""

Numbered = Iterator[tuple[int, Row | SourceError | pa.RecordBatch]]
"""Rows with their numbers, or batches of rows with that of their first."""
PACKED = (".gz", ".zst")
BATCH_ROWS = 1024
ABOUT = ("README", "LICENSE", "LICENCE", "CHANGELOG", "NOTICE", "CONTRIBUTING", "CITATION")
"""Files that speak of a folder and are no documents of it, whatever their suffix."""

csv.field_size_limit(1 << 30)


def find_files(path: str, form: str | None = None) -> tuple[Path, list[Path]]:
    """A file, all readable files below a folder, or the matches of a glob, in order, and the
    folder that they are named from. Raises SourceError where there are none."""
    base, paths = _listed(path)
    known = _known(form)
    alone = paths == [remote.local(path)]
    found = [file for file in paths if alone or _suffix(file) in known]
    if not found:
        fix = f"readable are {', '.join(known)}"
        raise SourceError("holds no file to read", where=places.shown(base), fix=fix)
    return base, found


def passed_over(path: str, form: str | None = None) -> str:
    """One line on the files of a folder or a glob that are of no readable kind; empty where there
    are none."""
    base, paths = _listed(path)
    alone = paths == [remote.local(path)]
    others = [] if alone else [file for file in paths if _suffix(file) not in _known(form)]
    if not others:
        return ""
    shown = ", ".join(sorted({_suffix(file) or "no suffix" for file in others})[:12])
    files = "1 file is" if len(others) == 1 else f"{len(others):,} files are"
    where = places.shown(base)
    return f"{where}: {files} passed over ({shown}); readable are {', '.join(_known(form))}"


def _known(form: str | None) -> tuple[str, ...]:
    return (*READERS, *TREES) if form == "trees" else (*READERS,)


def _listed(path: str) -> tuple[Path, list[Path]]:
    """The files that a path names, in order; none that is hidden or speaks of its folder."""
    if is_url(path):
        base, objects = remote.find(path)
        alone = list(objects) == [remote.local(path)]
        return base, [file for file in objects if alone or _speaks(file, base)]
    try:
        whole = Path(path)
        if whole.is_file():
            return whole.parent, [whole]
        base, pattern = (whole, "**/*") if whole.is_dir() else _split_glob(whole)
        found = (file for file in base.glob(pattern) if file.is_file() and _speaks(file, base))
        return base, sorted(found)
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot be read ({error})", where=path[:200]) from error


def _speaks(file: Path, base: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(base).parts)
    return not hidden and file.stem.upper() not in ABOUT


def _split_glob(path: Path) -> tuple[Path, str]:
    """The folder before the first wildcard, and the rest."""
    parts = path.parts
    wild = next((n for n, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return Path(*parts[:wild]), str(Path(*parts[wild:]))


def read_files(path: str, form: str | None = None) -> Iterator[Found]:
    """The rows of a file, a folder or a glob. `form` is rows or None (as the suffix says; a text
    file of a folder is one document), lines, documents or trees (a row {tree: ...} a file).

    Raises SourceError where a file cannot be read at all.
    """
    base, _ = find_files(path, form)
    for name, first, found in read_batches(path, form):
        rows = unpack(found) if isinstance(found, pa.RecordBatch) else [found]
        for number, row in enumerate(rows, first):
            if isinstance(row, SourceError):
                where = f"{places.shown(base / name)}:{number}"
                yield name, SourceError(row.what, where=where, fix=row.fix)
            else:
                yield f"{name}:{number}", row


def read_batches(
    path: str, form: str | None = None
) -> Iterator[tuple[str, int, Row | SourceError | pa.RecordBatch]]:
    """What `read_files` gives, as a file's name and a row's number with the row, or of columnar
    files with a batch of rows from that number on."""
    base, files = find_files(path, form)
    alone = files == [remote.local(path)]
    for file in files:
        name = str(file.relative_to(base))
        try:
            for number, found in _reader(file, form, alone)(remote.here(file)):
                yield name, number, found
        except (OSError, EOFError, pa.ArrowException, csv.Error) as error:
            problem = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            where = places.shown(file)
            raise SourceError(f"cannot be read ({problem})", where=where) from error


def _reader(file: Path, form: str | None, alone: bool) -> Any:
    suffix = _suffix(file)
    if form == "trees":
        return _tree
    if form == "documents" or (form is None and suffix == ".txt" and not alone):
        return _document
    if form == "lines":
        return _text_lines
    if suffix not in READERS:
        raise SourceError(
            f"is of no readable kind: {suffix or 'it has no suffix'}",
            where=places.shown(file),
            fix=f"readable are {', '.join(READERS)}",
        )
    return READERS[suffix]


def _suffix(path: Path) -> str:
    """The last suffix, that of packing left out."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED else suffix


def _open(file: Path) -> BinaryIO:
    """The bytes of a file, unpacked where it ends in .gz or .zst, a leading BOM left out."""
    packed = "detect" if file.suffix.lower() in PACKED else None
    handle = io.BufferedReader(cast(Any, pa.input_stream(str(file), compression=packed)), 1 << 20)
    if handle.peek(3).startswith(codecs.BOM_UTF8):
        handle.read(3)
    return handle


def _object(text: bytes) -> Row | SourceError:
    try:
        row = read_json(text)
    except (ValueError, RecursionError) as error:
        return SourceError(f"is not JSON ({error})", fix="mend or remove the line")
    return row if isinstance(row, dict) else SourceError("is not a JSON object")


def _json_lines(file: Path) -> Numbered:
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _object(line)


def _json(file: Path) -> Numbered:
    """A list of objects, or one object."""
    try:
        with _open(file) as handle:
            found = read_json(handle.read())
    except (ValueError, RecursionError) as error:
        lines = "Extra data" in str(error)
        fix = "it may be JSON Lines: name it .jsonl" if lines else ""
        yield 1, SourceError(f"is not JSON ({error})", fix=fix)
        return
    for number, row in enumerate(found if isinstance(found, list) else [found], 1):
        yield number, row if isinstance(row, dict) else SourceError("is not a JSON object")


def _csv(file: Path) -> Numbered:
    """The first line names the columns; every value is a text. A damaged byte spoils its row."""
    dialect = "excel-tab" if _suffix(file) == ".tsv" else "excel"
    with io.TextIOWrapper(_open(file), "utf-8", "surrogateescape", newline="") as text:
        reader = csv.reader(text, dialect, strict=True)
        names = next(reader, [])
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(f"names the column {twice[0]!r} twice", where=file.name)
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                problem = f"has {len(values)} values for {len(names)} columns"
                yield reader.line_num, SourceError(problem, fix="mend or remove the line")
            elif any("\udc80" <= letter <= "\udcff" for value in values for letter in value):
                yield reader.line_num, SourceError("is not UTF-8")
            else:
                yield reader.line_num, dict(zip(names, values, strict=True))


def _parquet(file: Path) -> Numbered:
    with pq.ParquetFile(file) as found:
        yield from _batches(found.iter_batches(BATCH_ROWS))


def _arrow(file: Path) -> Numbered:
    """The IPC file form or the stream form."""
    with pa.memory_map(str(file)) as mapped:
        try:
            opened = pa.ipc.open_file(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            yield from _batches(pa.ipc.open_stream(mapped))
            return
        yield from _batches(opened.get_batch(n) for n in range(opened.num_record_batches))


def _batches(batches: Iterable[pa.RecordBatch]) -> Numbered:
    number = 1
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            piece = batch.slice(start, BATCH_ROWS)
            yield number, piece
            number += piece.num_rows


def unpack(batch: pa.RecordBatch) -> list[Row | SourceError]:
    """The rows of a batch; one with a text that is not UTF-8 is an error in its place."""
    try:
        return cast(list[Row | SourceError], batch.to_pylist())
    except UnicodeDecodeError:
        return [_one(batch.slice(at, 1)) for at in range(batch.num_rows)]


def _one(batch: pa.RecordBatch) -> Row | SourceError:
    try:
        return cast(Row, batch.to_pylist()[0])
    except UnicodeDecodeError:
        return SourceError("is not UTF-8")


def _text_lines(file: Path) -> Numbered:
    with _open(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode().strip()
            except UnicodeDecodeError:
                yield number, SourceError("is not UTF-8")
                continue
            if text:
                yield number, {"text": text}


def _document(file: Path) -> Numbered:
    """The whole file as one row, with its name."""
    with _open(file) as handle:
        content = handle.read()
    try:
        yield 1, {"text": content.decode().strip(), "file": file.name}
    except UnicodeDecodeError:
        yield 1, SourceError("is not UTF-8")


def _tree(file: Path) -> Numbered:
    """Whatever the file holds; the caller reads it."""
    for number, row in _document(file):
        yield number, {"tree": row["text"]} if isinstance(row, dict) else row


READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".ipc": _arrow,
    ".feather": _arrow,
    ".txt": _text_lines,
    ".md": _document,
}
TREES = (".yaml", ".yml")
"""Read as outlines alone."""
