"""MDS shards for MosaicML streaming: the packed rows, with what is needed to mask them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.export import Source
from data.loader import Ragged, Rows

SHARD_BYTES = 1 << 26


def export(source: Source, folder: Path) -> None:
    """A folder a split. `seq_lengths` and `loss_spans` are filled up with zeros, so that each
    sample has the same size."""
    for split in source.splits:
        (folder / split).mkdir()
        _export_split(source.rows(split), _sample(source, split), folder / split)


def _sample(source: Source, split: str) -> np.dtype[Any]:
    """A sample's bytes: the columns in the order of their names, with nothing between."""
    size = source.manifest["sequence_length"]
    narrow = np.uint16 if size <= 0xFFFF else np.int32
    rows = source.scan(split)
    widest = {
        name: max(1, rows.select(pl.col(name).list.len().max()).collect().item())
        for name in ("loss_spans", "seq_lengths")
        if name in rows.collect_schema()
    }
    columns: dict[str, Any] = {name: (narrow, width) for name, width in widest.items()}
    columns |= {"n_tokens": np.int32, "tokens": (source.id_type, size)}
    return np.dtype(sorted(columns.items()))


def _export_split(rows: Rows, sample: np.dtype[Any], folder: Path) -> None:
    kinds = [sample[name] for name in sample.names or ()]
    config = {
        "column_encodings": [
            f"ndarray:{kind.base.name}:{kind.shape[0]}" if kind.shape else kind.name
            for kind in kinds
        ],
        "column_names": list(sample.names or ()),
        "column_sizes": [kind.itemsize for kind in kinds],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": SHARD_BYTES,
        "version": 2,
    }
    header = json.dumps(config, sort_keys=True).encode()
    count = max(1, (SHARD_BYTES - len(header) - 8) // (sample.itemsize + 4))
    shards = []
    for number, first in enumerate(range(0, len(rows), count)):
        batch = rows.take(range(first, min(first + count, len(rows))))
        samples = np.zeros(len(batch.n_tokens), sample)
        samples["tokens"], samples["n_tokens"] = batch.input_ids, batch.n_tokens
        _fill(samples["seq_lengths"], batch.seq_lengths)
        if batch.loss_spans is not None:
            _fill(samples["loss_spans"], batch.loss_spans)
        start = 4 + 4 * (len(samples) + 1) + len(header)
        offsets = start + np.arange(len(samples) + 1) * sample.itemsize
        name = f"shard.{number:05d}.mds"
        with open(folder / name, "wb") as file:
            file.write(np.uint32(len(samples)).tobytes())
            file.write(offsets.astype(np.uint32).data)
            file.write(header)
            file.write(samples.tobytes())
        raw = {"basename": name, "bytes": int(offsets[-1]), "hashes": {}}
        shards.append({**config, "raw_data": raw, "samples": len(samples), "zip_data": None})
    index = json.dumps({"shards": shards, "version": 2}, sort_keys=True)
    (folder / "index.json").write_text(index)


def _fill(column: npt.NDArray[Any], lists: Ragged) -> None:
    lengths = np.diff(lists.starts)
    column[np.arange(column.shape[1]) < lengths[:, None]] = lists.values
