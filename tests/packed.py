"""Packed shards made by hand, so that a reader is tested against rows that are known."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.formats import to_arrow
from data.parts import write_file
from data.schema import id_type, packed_schema

EOS = 7
"""Ends documents, fills rows, and occurs inside documents."""


@dataclass
class Row:
    """Fragments of one row, and its trained spans where the loss is masked."""

    fragments: list[list[int]]
    spans: list[int] | None = None

    @property
    def ids(self) -> list[int]:
        return [id for fragment in self.fragments for id in fragment]

    def padded(self, size: int) -> list[int]:
        return self.ids + [EOS] * (size - len(self.ids))

    def lengths(self, size: int) -> list[int]:
        left = size - len(self.ids)
        return [len(f) for f in self.fragments] + ([left] if left else [])

    def expected(self, size: int) -> dict[str, list[int]]:
        """What a trainer is to get, one token after the other."""
        labels: list[int] = []
        positions: list[int] = []
        for fragment in self.fragments:
            labels += [-100, *fragment[1:]]
            positions += range(len(fragment))
        left = size - len(labels)
        if self.spans is not None:
            pairs = list(zip(self.spans[::2], self.spans[1::2], strict=True))
            labels = [
                id if any(a <= i < b for a, b in pairs) else -100 for i, id in enumerate(labels)
            ]
        return {
            "input_ids": self.padded(size),
            "position_ids": [*positions, *range(left)],
            "labels": labels + [-100] * left,
        }


def random_rows(count: int, size: int, seed: int = 0, *, masked: bool = False) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        real = size if rng.random() < 0.4 else int(rng.integers(1, size))
        ids = rng.integers(0, 12, real)
        cuts = (
            np.unique(rng.integers(1, max(2, real), int(rng.integers(0, 5))))
            if real > 1
            else ids[:0]
        )
        fragments = [piece.tolist() for piece in np.split(ids, cuts)]
        edges = np.unique(rng.integers(0, real + 1, 2 * int(rng.integers(0, 4))))
        spans = edges[: len(edges) // 2 * 2].tolist() if masked else None
        rows.append(Row(fragments, spans))
    return rows


def write_packed(
    folder: Path,
    rows: list[Row],
    size: int,
    *,
    rows_per_shard: int = 7,
    batch_rows: int = 3,
    vocabulary: int = 12,
    split: str = "train",
) -> Path:
    """Shards of several record batches each, and a manifest with what a reader needs."""
    kind = id_type(vocabulary)
    schema = packed_schema(kind, size)
    parts: list[dict[str, Any]] = []
    for first in range(0, len(rows), rows_per_shard):
        here = rows[first : first + rows_per_shard]
        ids = np.array([row.padded(size) for row in here], kind.to_pandas_dtype())
        columns = {
            "input_ids": pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel(), kind), size),
            "seq_lengths": pa.array([row.lengths(size) for row in here], schema.field(1).type),
            "n_tokens": pa.array([len(row.ids) for row in here], pa.int32()),
        }
        if rows[0].spans is not None:
            columns["loss_spans"] = pa.array([row.spans for row in here], schema.field(1).type)
        path = folder / f"{split}-{len(parts):05d}.arrow"
        write_file(path, to_arrow(pa.table(columns), batch_rows))
        about = {"file": path.name, "bytes": path.stat().st_size}
        parts.append({**about, "split": split, "rows": len(here)})
    manifest = {"sequence_length": size, "splits": {split: {"rows": len(rows)}}, "parts": parts}
    write_file(folder / "manifest.json", json.dumps(manifest).encode())
    return folder
