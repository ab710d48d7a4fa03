"""Finished shards in the files that other trainers read: one exporter a format.

An exporter takes the packed rows or the documents that are in them, from the tokens stage. An
export appears whole, under its name, with a manifest of what was written, or not at all.
"""

import errno
import fcntl
import importlib
import json
import os
import pkgutil
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from data import exporters
from data.errors import DamagedPart, OutputError, RecipeError, ShardmillError, SourceError, nearest
from data.loader import Rows
from data.packing import copy_segments
from data.parts import MANIFEST, output_error, read_manifest, sha256_file, write_file
from data.schema import fingerprint, id_type
from data.store import fetch, push

BLOCK = 1 << 22
"""Tokens of the documents that are held at once, where no single document is longer."""


@dataclass(frozen=True)
class Documents:
    """Whole documents, one after the other; `trained` is a byte a token, None where all are."""

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    trained: npt.NDArray[np.uint8] | None


class Source:
    """The finished shards of one output, and the tokenized documents that they were made of."""

    def __init__(self, folder: Path) -> None:
        """Raises SourceError where there are none and DamagedPart where a shard is not whole."""
        found = read_manifest(folder)
        if found is None or "splits" not in found:
            raise SourceError("holds no finished shards", where=str(folder))
        self.folder, self.manifest = folder, found
        self.splits: list[str] = [name for name, s in found["splits"].items() if s["rows"]]
        self.vocabulary: int = found["tokenizer"]["vocabulary"]
        self.id_type = np.dtype(id_type(self.vocabulary).to_pandas_dtype())
        _check(folder, found)

    def rows(self, split: str) -> Rows:
        return Rows(self.folder, split)

    def scan(self, split: str) -> pl.LazyFrame:
        parts = [self.folder / p["file"] for p in self.manifest["parts"] if p["split"] == split]
        return pl.scan_ipc(parts, glob=False)

    def documents(self, split: str) -> Iterator[Documents]:
        """The split's documents as often as its rows have them, first every document once.

        Memory holds a block of tokens, and an id and two counts a document.
        """
        chosen = self._chosen(split)
        wanted, copies, tokens = (chosen[name].to_numpy() for name in chosen.columns)
        total = 0
        for turn in range(int(copies.max(initial=0))):
            for table in self._tables():
                ids = table["id"].to_numpy()
                at = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
                mine = np.flatnonzero((wanted[at] == ids) & (copies[at] > turn))
                for block in _blocks(table, mine, tokens[at[mine]]):
                    total += len(block.ids)
                    yield block
        if total != int(copies @ tokens):
            raise ShardmillError(
                f"the shards' {split} split has other documents than the tokens stage",
                where=str(self.folder),
                fix="run the build again",
            )

    def _chosen(self, split: str) -> pl.DataFrame:
        """`id`, how often the document is in the split, and how many of its tokens are."""
        fragments = pl.col("doc_ids").list.len()
        columns = self.scan(split).select(
            id="doc_ids", offset="doc_offsets", tokens=pl.col("seq_lengths").list.head(fragments)
        )
        ends = pl.col("offset").cast(pl.Int64) + pl.col("tokens").cast(pl.Int64)
        return (
            columns.explode("id", "offset", "tokens")
            .group_by("id")
            .agg(copies=(pl.col("offset") == 0).sum().cast(pl.Int64), tokens=ends.max())
            .sort("id")
            .collect(engine="streaming")
        )

    def _tables(self) -> Iterator[pa.Table]:
        """The parts of the tokens stage, mapped."""
        name = next((n for n in self.manifest["inputs"] if n.startswith("tokens.")), "")
        stage = self.folder.parent.parent / "stages" / name
        manifest = read_manifest(stage)
        if manifest is None:
            raise SourceError(
                "this format is written from the tokenized documents, which are not there",
                where=str(stage),
                fix="export from the folder of the build, with its stages",
            )
        _check(stage, manifest)
        for part in manifest["parts"]:
            with pa.memory_map(str(stage / part["file"])) as source:
                yield pa.ipc.open_file(source).read_all()


def _check(folder: Path, manifest: dict[str, Any]) -> None:
    for part in manifest["parts"]:
        path = fetch(folder / part["file"])
        if not path.is_file() or sha256_file(path) != part["sha256"]:
            raise DamagedPart(path)


def _blocks(
    table: pa.Table, mine: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]
) -> Iterator[Documents]:
    """Documents `mine` of a part, the first `kept` tokens of each."""
    lists = table["input_ids"].combine_chunks()
    offsets, flat = lists.offsets.to_numpy(), lists.values.to_numpy()
    starts = offsets[mine].astype(np.int64)
    lengths = np.minimum(kept, offsets[mine + 1] - starts)
    before = np.cumsum(lengths) - lengths
    edges = np.flatnonzero(np.diff(before // BLOCK, prepend=-1, append=-1)).tolist()
    for first, last in pairwise(edges):
        here = slice(first, last)
        ids = np.empty(int(lengths[here].sum()), flat.dtype)
        places = before[here] - before[first]
        copy_segments(flat, starts[here], ids, places, lengths[here])
        yield Documents(ids, lengths[here], _trained(table, mine[here], places, lengths[here]))


def _trained(
    table: pa.Table,
    mine: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8] | None:
    if "loss_spans" not in table.column_names:
        return None
    spans = table["loss_spans"].combine_chunks().take(pa.array(mine))
    counts = np.diff(spans.offsets.to_numpy())
    edges = np.minimum(spans.flatten().to_numpy(), np.repeat(lengths, counts))
    edges = edges + np.repeat(places, counts)
    turns = np.zeros(int(lengths.sum()) + 1, np.int8)
    np.add.at(turns, edges[::2], 1)
    np.add.at(turns, edges[1::2], -1)
    return np.cumsum(turns[:-1], dtype=np.int8).view(np.uint8)


class Exporter(Protocol):
    """A module of data/exporters: its name is the format's, its docstring says what it is."""

    def export(self, source: Source, folder: Path) -> None:
        """Write the splits of `source` into the empty `folder`."""


def list_exporters() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(exporters.__path__))


def load_exporter(name: str) -> Exporter:
    """Raises RecipeError for a format that is not known."""
    if name not in list_exporters():
        raise RecipeError(f"no format {name!r} to export to", fix=nearest(name, list_exporters()))
    module: Exporter = importlib.import_module(f"data.exporters.{name}")
    return module


def export_shards(folder: Path, to: str, target: Path) -> bool:
    """Export the shards in `folder` to `target`; False where it is there already.

    An older export of ours in its place is replaced. Raises OutputError where `target` is
    anything else.
    """
    exporter, source = load_exporter(to), Source(folder)
    about = {"export": to, "of": source.manifest["manifest"]}
    present = read_manifest(target) or {}
    if {key: present.get(key) for key in about} == about and _whole(target, present):
        return False
    if "export" not in present and target.exists() and not _empty(target):
        raise OutputError(
            "exists and is no finished export",
            where=str(target),
            fix="choose another folder with --out or remove it",
        )
    facts = ("recipe", "sequence_length", "tokenizer", "licences")
    about |= {name: source.manifest[name] for name in facts if name in source.manifest}
    about["exported"] = {name: source.manifest["splits"][name] for name in source.splits}
    try:
        with _beside(target) as temporary:
            exporter.export(source, temporary)
            _finish(temporary, about)
            _swap(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    push(target)
    return True


def _whole(folder: Path, manifest: dict[str, Any]) -> bool:
    files = [(folder / part["file"], part["bytes"]) for part in manifest["parts"]]
    return all(path.is_file() and path.stat().st_size == size for path, size in files)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """An empty folder to fill, ours alone; gone afterwards, be it at the next export."""
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    handle = os.open(temporary, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError("another export is writing this", where=str(target)) from error
        for left in temporary.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    finally:
        os.close(handle)


def _finish(folder: Path, about: dict[str, Any]) -> None:
    """The manifest, once every file is on the disk."""
    parts = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        name, size = str(path.relative_to(folder)), path.stat().st_size
        parts.append({"file": name, "bytes": size, "sha256": sha256_file(path)})
    manifest = {**about, "parts": parts}
    manifest["manifest"] = fingerprint(manifest)
    write_file(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")


def _swap(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        temporary.rename(target)
        shutil.rmtree(old)
