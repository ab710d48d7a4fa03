"""Token parts gathered into packed rows."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.mixing import Documents
from data.packing import Packing, copy_segments

Ints = npt.NDArray[np.int64]


class TokenParts:
    """The parts of a tokens stage, mapped; their columns as arrays without a copy."""

    def __init__(self, tables: list[pa.Table]) -> None:
        self.tables = [table.combine_chunks() for table in tables]
        self.ids = [_list(table, "input_ids") for table in self.tables]

    def documents(self) -> Documents:
        columns: list[tuple[Any, ...]] = []
        for part, table in enumerate(self.tables):
            count = table.num_rows
            if not count:
                continue
            offsets = self.ids[part][1].astype(np.int64)
            id = table["id"].to_numpy()
            whole = np.zeros(count, bool)
            if "cuts" in table.column_names:
                whole = np.diff(_list(table, "cuts")[1]) > 0
            columns.append(
                (
                    np.full(count, part, np.int32),
                    np.arange(count, dtype=np.int32),
                    offsets[:-1],
                    np.diff(offsets).astype(np.int32),
                    id,
                    table["source"].to_numpy(),
                    whole,
                    id,
                )
            )
        kinds = (np.int32, np.int32, np.int64, np.int32, np.uint64, np.uint8, bool, np.uint64)
        if not columns:
            return Documents(*(np.zeros(0, kind) for kind in kinds))
        return Documents(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def longest_cut(self, documents: Documents, size: int) -> npt.NDArray[np.int32]:
        """The greatest length of each conversation that is at most `size`; 0 for none."""
        found = np.zeros(len(documents.id), np.int32)
        for part, here in _by_part(documents.part):
            owner, cuts, _ = _entries(self.tables[part], "cuts", documents.row[here])
            fitting = cuts <= size
            np.maximum.at(found, here[owner[fitting]], cuts[fitting].astype(np.int32))
        return found

    def spans(
        self, documents: Documents, offset: Ints, length: Ints
    ) -> tuple[npt.NDArray[np.int64], Ints, Ints]:
        """Owner (the fragment), start and end within it of each trained span; in the order of
        the fragments."""
        groups = [(np.zeros(0, np.int64),) * 3]
        for part, here in _by_part(documents.part):
            owner, values, _ = _entries(self.tables[part], "loss_spans", documents.row[here])
            owner = here[owner[::2]]
            start = np.clip(values[::2] - offset[owner], 0, length[owner])
            end = np.clip(values[1::2] - offset[owner], 0, length[owner])
            some = start < end
            groups.append((owner[some], start[some], end[some]))
        owner, start, end = (np.concatenate(column) for column in zip(*groups, strict=True))
        order = np.lexsort((start, owner))
        return owner[order], start[order], end[order]


def _list(table: pa.Table, column: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Values and offsets of a list column."""
    chunks = table[column]
    if not chunks.num_chunks:
        return np.zeros(0, np.uint32), np.zeros(1, np.int64)
    lists = chunks.chunk(0)
    return lists.values.to_numpy(), lists.offsets.to_numpy()


def _by_part(part: npt.NDArray[np.int32]) -> Iterator[tuple[int, Ints]]:
    """Each part and the places that are of it."""
    if not len(part):
        return
    order = np.argsort(part, kind="stable")
    numbers, starts = np.unique(part[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)


def _entries(table: pa.Table, column: str, rows: npt.NDArray[np.int32]) -> tuple[Ints, Ints, Ints]:
    """Place in `rows`, value and place in its list of each entry of the rows' lists."""
    values, offsets = _list(table, column)
    offsets = offsets.astype(np.int64)
    counts = offsets[rows + 1] - offsets[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, values[offsets[rows][owner] + within].astype(np.int64), within


def packed_rows(
    parts: TokenParts,
    documents: Documents,
    rows: Packing,
    first: int,
    last: int,
    schema: pa.Schema,
    padding: int,
) -> pa.Table:
    """Rows `first` to `last` of a packing in the form of schema.packed_schema."""
    size = schema.field("input_ids").type.list_size
    kind = schema.field("input_ids").type.value_type
    begin, end = rows.row_starts[first], rows.row_starts[last]
    offset = rows.offset[begin:end].astype(np.int64)
    length = rows.length[begin:end].astype(np.int64)
    chosen = documents.take(rows.document[begin:end])
    starts = rows.row_starts[first : last + 1] - begin
    row = np.repeat(np.arange(last - first), np.diff(starts))
    before = np.cumsum(length) - length
    within = before - before[starts[:-1]][row] if len(row) else before
    ids = np.empty((last - first) * size, kind.to_pandas_dtype())
    for part, here in _by_part(chosen.part):
        copy_segments(
            parts.ids[part][0],
            chosen.start[here] + offset[here],
            ids,
            row[here] * size + within[here],
            length[here],
        )
    used = np.bincount(row, length, minlength=last - first).astype(np.int64)
    _pad(ids, size, used, padding)
    lengths, length_starts = _with_padding(length, starts, size - used)

    def lists(name: str, column: npt.NDArray[Any], offsets: Ints) -> pa.Array:
        of = schema.field(name).type.value_type
        values = pa.array(column.astype(of.to_pandas_dtype(), copy=False), of)
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)

    columns = {
        "input_ids": pa.FixedSizeListArray.from_arrays(pa.array(ids), size),
        "seq_lengths": lists("seq_lengths", lengths, length_starts),
        "n_tokens": pa.array(used.astype(np.int32)),
        "doc_ids": lists("doc_ids", chosen.id, starts),
        "doc_offsets": lists("doc_offsets", offset, starts),
        "source_ids": lists("source_ids", chosen.source, starts),
    }
    if "loss_spans" in schema.names:
        owner, start, stop = parts.spans(chosen, offset, length)
        pairs = np.stack([start + within[owner], stop + within[owner]], axis=1).reshape(-1)
        counts = np.bincount(row[owner], minlength=last - first) * 2
        columns["loss_spans"] = lists("loss_spans", pairs, np.append(0, np.cumsum(counts)))
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


@numba.njit(cache=True, nogil=True)
def _pad(ids: npt.NDArray[Any], size: int, used: Ints, padding: int) -> None:
    """Fill what `used` leaves of each row."""
    for row in range(len(used)):
        for place in range(row * size + used[row], (row + 1) * size):
            ids[place] = padding


def _with_padding(lengths: Ints, starts: Ints, left: Ints) -> tuple[Ints, Ints]:
    """Append the padding of each row that has any as its last segment."""
    padded = left > 0
    grown = np.insert(lengths, starts[1:][padded], left[padded])
    return grown, starts + np.concatenate(([0], np.cumsum(padded)))
