"""Packed rows to Arrow shards with a manifest that accounts for every token."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data import packing
from data.parts import Stage, to_arrow, write_file
from data.schema import id_type, packed_schema
from data.tokenization import Tokenizer

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Documents:
    """The tokenized documents of all parts, as columns; `start` is within the part's ids."""

    part: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    id: npt.NDArray[np.uint64]
    source: npt.NDArray[np.uint8]

    def take(self, rows: npt.NDArray[np.int64]) -> "Documents":
        return Documents(
            self.part[rows], self.start[rows], self.length[rows], self.id[rows], self.source[rows]
        )


@dataclass(frozen=True)
class Layout:
    """What decides the rows of an output besides its documents."""

    sequence_length: int
    rows_per_shard: int
    validation: float
    seed: int
    repeat: dict[str, float]


def write_shards(
    tokens: Stage, shards: Stage, layout: Layout, tokenizer: Tokenizer, facts: dict[str, Any]
) -> None:
    """Pack a complete tokens stage into `shards.folder`; the manifest comes last."""
    manifest = tokens.manifest or {}
    sources: list[str] = manifest["sources"]
    shards.begin()
    for stale in shards.folder.glob("*.arrow"):
        stale.unlink()
    values = [tokens.map(index) for index in range(tokens.count())]
    documents = _documents(values)
    about: dict[str, dict[str, Any]] = {}
    splits: dict[str, Any] = {}
    for name, share in _split(documents, layout).items():
        chosen = _repeat(share, layout, sources, whole=name == "train")
        rows = packing.pack(chosen.length, chosen.id, layout.sequence_length, layout.seed)
        for file, table, counts in _tables(name, values, chosen, rows, layout, tokenizer):
            write_file(shards.folder / file, to_arrow(table))
            about[file] = counts
        splits[name] = _account(chosen, rows, layout.sequence_length, sources)
    shards.finish(
        about=about,
        **facts,
        sources=sources,
        splits=splits,
        columns={name: str(kind) for name, kind in _schema(layout, tokenizer).items()},
        packing=packing.ALGORITHM,
        tokenizer={
            "name": tokenizer.name,
            "vocabulary": tokenizer.vocabulary,
            "eos": tokenizer.eos,
            "padding": tokenizer.eos,
            "sha256": tokenizer.sha256,
        },
    )


def _documents(parts: list[pa.Table]) -> Documents:
    columns: list[tuple[Any, ...]] = []
    for index, table in enumerate(parts):
        lists = table["input_ids"].combine_chunks()
        offsets = lists.offsets.to_numpy()
        ids = table["id"].to_numpy()
        part = np.full(len(ids), index, np.int64)
        starts = offsets[:-1].astype(np.int64)
        lengths = np.diff(offsets).astype(np.int64)
        columns.append((part, starts, lengths, ids, table["source"].to_numpy()))
    if not columns:
        empty = np.zeros(0, np.int64)
        return Documents(empty, empty, empty, empty.astype(np.uint64), empty.astype(np.uint8))
    return Documents(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _split(documents: Documents, layout: Layout) -> dict[str, Documents]:
    """By a hash of the document's id, so that a document keeps its split as others come and
    go. At least one document validates where any share is asked for and two exist."""
    if layout.validation <= 0:
        return {"train": documents}
    hashed = packing.mix64(documents.id, layout.seed ^ 0x5A11DA7E)
    held_out = hashed < np.uint64(max(0, int(layout.validation * 2.0**64) - 1))
    if not held_out.any() and len(hashed) > 1:
        held_out[np.argmin(hashed)] = True
    return {
        "train": documents.take(np.flatnonzero(~held_out)),
        "validation": documents.take(np.flatnonzero(held_out)),
    }


def _repeat(documents: Documents, layout: Layout, sources: list[str], *, whole: bool) -> Documents:
    """Whole repeats of a source's documents and a seeded part of them for the fraction; without
    `whole` each document of a source that counts at all is there once, to validate on."""
    factor = np.array([layout.repeat.get(name, 1.0) for name in sources] or [1.0])
    factor = factor if whole else np.ceil(np.minimum(factor, 1.0))
    times = factor[documents.source]
    chance = packing.mix64(documents.id, layout.seed ^ 0x2E9EA7) / 2.0**64
    copies = np.floor(times).astype(np.int64) + (chance < times % 1)
    return documents.take(np.repeat(np.arange(len(copies)), copies))


def _schema(layout: Layout, tokenizer: Tokenizer) -> dict[str, pa.DataType]:
    schema = packed_schema(id_type(tokenizer.vocabulary), layout.sequence_length)
    return {column.name: column.type for column in schema}


def _tables(
    split: str,
    values: list[pa.Table],
    documents: Documents,
    rows: packing.Packing,
    layout: Layout,
    tokenizer: Tokenizer,
) -> Iterator[tuple[str, pa.Table, dict[str, Any]]]:
    shards = max(1, -(-rows.rows // layout.rows_per_shard))
    flat = [table["input_ids"].combine_chunks().values.to_numpy() for table in values]
    for shard in range(shards):
        first = shard * layout.rows_per_shard
        last = min(rows.rows, first + layout.rows_per_shard)
        table = _rows(flat, documents, rows, first, last, layout.sequence_length, tokenizer)
        real = int(table["n_tokens"].to_numpy().sum())
        counts = {
            "split": split,
            "rows": last - first,
            "tokens": real,
            "padding": (last - first) * layout.sequence_length - real,
            "fragments": int(rows.row_starts[last] - rows.row_starts[first]),
        }
        yield f"{split}-{shard:05d}-of-{shards:05d}.arrow", table, counts


def _rows(
    flat: list[npt.NDArray[Any]],
    documents: Documents,
    rows: packing.Packing,
    first: int,
    last: int,
    size: int,
    tokenizer: Tokenizer,
) -> pa.Table:
    begin, end = rows.row_starts[first], rows.row_starts[last]
    document, offset = rows.document[begin:end], rows.offset[begin:end]
    length = rows.length[begin:end]
    starts = rows.row_starts[first : last + 1] - begin
    row = np.repeat(np.arange(last - first), np.diff(starts))
    before = np.cumsum(length) - length
    within = before - before[starts[:-1]][row] if len(row) else before
    kind = id_type(tokenizer.vocabulary)
    ids = np.full((last - first) * size, tokenizer.eos, kind.to_pandas_dtype())
    for part, source in enumerate(flat):
        here = np.flatnonzero(documents.part[document] == part)
        chosen = document[here]
        packing.copy_segments(
            source,
            documents.start[chosen] + offset[here],
            ids,
            row[here] * size + within[here],
            length[here],
        )
    used = np.zeros(last - first, np.int64)
    np.add.at(used, row, length)
    schema = packed_schema(kind, size)
    lengths, length_starts = _with_padding(length, starts, size - used)
    spots = pa.array(starts.astype(np.int32))

    def lists(name: str, column: npt.NDArray[Any], offsets: pa.Array) -> pa.Array:
        of = schema.field(name).type.value_type
        return pa.ListArray.from_arrays(offsets, pa.array(column, of))

    return pa.Table.from_arrays(
        [
            pa.FixedSizeListArray.from_arrays(pa.array(ids), size),
            lists("seq_lengths", lengths, pa.array(length_starts.astype(np.int32))),
            pa.array(used, pa.int32()),
            lists("doc_ids", documents.id[document], spots),
            lists("doc_offsets", offset, spots),
            lists("source_ids", documents.source[document], spots),
        ],
        schema=schema,
    )


def _with_padding(
    lengths: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], left: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Append the padding of each row that has any as its last segment."""
    padded = left > 0
    grown = np.insert(lengths, starts[1:][padded], left[padded])
    return grown, starts + np.concatenate(([0], np.cumsum(padded)))


def _account(
    documents: Documents, rows: packing.Packing, size: int, sources: list[str]
) -> dict[str, Any]:
    tokens = int(documents.length.sum())
    room = rows.rows * size
    by_source = np.bincount(documents.source, documents.length, minlength=len(sources))
    counted = np.bincount(documents.source, minlength=len(sources))
    return {
        "rows": rows.rows,
        "documents": len(documents.id),
        "documents_split": int((documents.length > size).sum()),
        "tokens": tokens,
        "padding": room - tokens,
        "fill": round(tokens / room, 6) if room else 0.0,
        "sources": {
            name: {"documents": int(counted[i]), "tokens": int(by_source[i])}
            for i, name in enumerate(sources)
        },
    }


def shard_files(folder: Path) -> list[Path]:
    return sorted(path for split in SPLITS for path in folder.glob(f"{split}-*-of-*.arrow"))
