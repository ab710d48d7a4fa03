"""A dataset on disk for transformers and TRL: input_ids, labels, position_ids, seq_lengths.

`datasets.load_from_disk` reads the folder, `Dataset.from_file` each of its data files.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
from datasets import DatasetInfo, Features

from data.export import Source
from data.loader import Ragged, Rows, expand
from data.schema import id_type

FILE_BYTES = 1 << 29
BATCH_ROWS = 1024


def export(source: Source, folder: Path) -> None:
    size = source.manifest["sequence_length"]
    place = pa.uint16() if size <= 0xFFFF else pa.int32()
    schema = pa.schema(
        [
            ("input_ids", pa.list_(id_type(source.vocabulary), size)),
            ("labels", pa.list_(pa.int32(), size)),
            ("position_ids", pa.list_(place, size)),
            ("seq_lengths", pa.list_(place)),
        ]
    )
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": source.splits}))
    for split in source.splits:
        (folder / split).mkdir()
        _export_split(source.rows(split), schema, split, folder / split)


def _export_split(rows: Rows, schema: pa.Schema, split: str, folder: Path) -> None:
    features = Features.from_arrow_schema(schema)
    row_bytes = 10 * rows.sequence_length
    count = max(BATCH_ROWS, FILE_BYTES // row_bytes)
    starts = range(0, len(rows), count)
    names = [f"data-{n:05d}-of-{len(starts):05d}.arrow" for n in range(len(starts))]
    for name, first in zip(names, starts, strict=True):
        with pa.ipc.new_stream(str(folder / name), features.arrow_schema) as writer:
            for begin in range(first, min(first + count, len(rows)), BATCH_ROWS):
                end = min(begin + BATCH_ROWS, first + count, len(rows))
                writer.write(_batch(rows, range(begin, end), features.arrow_schema))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": rows.manifest_hash,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    (folder / "state.json").write_text(json.dumps(state))
    DatasetInfo(features=features).write_to_directory(str(folder))


def _batch(rows: Rows, chosen: range, schema: pa.Schema) -> pa.RecordBatch:
    batch = rows.take(chosen)
    columns = []
    for name, values in expand(batch).items():
        kind = schema.field(name).type
        flat = pa.array(values.ravel().astype(kind.value_type.to_pandas_dtype()))
        columns.append((name, pa.FixedSizeListArray.from_arrays(flat, rows.sequence_length)))
    lengths: Ragged = batch.seq_lengths
    values = pa.array(lengths.values, schema.field("seq_lengths").type.value_type)
    lists = pa.ListArray.from_arrays(pa.array(lengths.starts, pa.int32()), values)
    found = {**dict(columns), "seq_lengths": lists}
    return pa.record_batch([found[name] for name in schema.names], schema=schema)
