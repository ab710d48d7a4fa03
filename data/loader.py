"""Training batches from packed shards: memory-mapped, shuffled, resumable to the row.

A trainer may copy this file: it needs pyarrow and NumPy alone, and torch for tensors. A batch
has `input_ids`, `position_ids`, which start at 0 at every fragment so that a model keeps packed
documents apart, and `labels`: -100 for padding, for a fragment's first token and outside the
loss spans. It has no attention mask: one of ones would join the documents.
"""

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

Ints = npt.NDArray[np.int64]
IGNORED = -100
LISTS = ("seq_lengths", "loss_spans")
STATE = ("manifest_hash", "seed", "epoch", "row")
COLUMNS = ("input_ids", "n_tokens", *LISTS)
PLACES = ("shard", "rows", *COLUMNS, *(f"{name} ends" for name in COLUMNS))
PLACE = np.dtype([(name, np.int64) for name in PLACES])  # of a record batch, in elements


class LoaderError(ValueError):
    """Shards that are missing or damaged, or a state or a size that does not fit them."""


class Ragged(NamedTuple):
    """A list a row: row i has `values[starts[i]:starts[i + 1]]`."""

    values: npt.NDArray[Any]
    starts: Ints


@dataclass(frozen=True)
class Batch:
    """n rows of T ids as the shards hold them; without loss spans every token is trained."""

    input_ids: npt.NDArray[Any]
    n_tokens: npt.NDArray[Any]
    seq_lengths: Ragged
    loss_spans: Ragged | None

    def __iter__(self) -> NoReturn:
        raise LoaderError("a batch is no list of rows: set remove_unused_columns=False")


class Rows:
    """Random access to the rows of one split; a map-style dataset for torch and transformers."""

    def __init__(self, folder: str | Path, split: str = "train") -> None:
        """Raises LoaderError where a shard is missing or is not as the manifest says."""
        self.folder, self.split = Path(folder), split
        try:
            content = (self.folder / "manifest.json").read_bytes()
            self.manifest: dict[str, Any] = json.loads(content)
            self.sequence_length = int(self.manifest["sequence_length"])
            parts = [p for p in self.manifest["parts"] if p["split"] == split and p["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LoaderError(f"{self.folder}: holds no manifest.json of packed shards") from error
        if not parts:
            raise LoaderError(f"{self.folder}: holds no rows of a split {split!r}")
        self.manifest_hash = hashlib.sha256(content).hexdigest()[:16]
        shards = [_map_shard(self.folder, part, self.sequence_length) for part in parts]
        self._views = [views for views, _ in shards]
        self._places = np.concatenate([places for _, places in shards])
        self._places["shard"] = np.repeat(np.arange(len(parts)), [len(p) for _, p in shards])
        self._starts = _starts(self._places["rows"])
        narrow = self._views[0]["input_ids"].itemsize == 2 * self.sequence_length
        self._dtype = np.dtype(np.uint16 if narrow else np.int32)

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (self.folder, self.split)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: Sequence[int] | Ints) -> Batch:
        """The given rows in their order; ids are a view where rows lie side by side."""
        wanted = np.asarray(rows, np.int64)
        if not len(wanted) or not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"give at least one row, each in [0, {len(self)})")
        place = np.searchsorted(self._starts, wanted, "right") - 1
        at, row = self._places[place], wanted - self._starts[place]
        shard = at["shard"]
        ids = self._gather("input_ids", shard, at["input_ids"] + row * self.sequence_length)
        names = [name for name in LISTS if name in self._views[0]]
        ends = [at[f"{name} ends"] + row + end for name in names for end in (0, 1)]
        numbers = self._gather("numbers", shard, np.stack([at["n_tokens"] + row, *ends], axis=1))
        lists: dict[str, Ragged] = {}
        for name, begin, end in zip(names, numbers.T[1::2], numbers.T[2::2], strict=True):
            lengths = (end - begin).astype(np.int64)
            source = _ranges(at[name] + begin, lengths)
            values = self._gather(name, np.repeat(shard, lengths), source)
            lists[name] = Ragged(values, _starts(lengths))
        flat = ids.view(self._dtype).reshape(len(wanted), self.sequence_length)
        return Batch(flat, numbers[:, 0], lists["seq_lengths"], lists.get("loss_spans"))

    __getitems__ = take  # what a torch DataLoader asks for

    def _gather(self, column: str, shard: Ints, at: Ints) -> npt.NDArray[Any]:
        """Elements `at` of a column, each of its own shard."""
        if not len(shard) or (shard == shard[0]).all():
            view, size = self._views[shard[0] if len(shard) else 0][column], self.sequence_length
            side_by_side = column == "input_ids" and (np.diff(at) == size).all()
            return view[at[0] : at[-1] + 1 : size] if side_by_side else view[at]
        found: npt.NDArray[Any] = np.empty(at.shape, self._views[0][column].dtype)
        for number in np.unique(shard):
            mine = np.flatnonzero(shard == number)
            found[mine] = self._views[number][column][at[mine]]
        return found


def _map_shard(
    folder: Path, part: Mapping[str, Any], size: int
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any]]:
    """A file as one array a column, and where in it each record batch lies.

    Element i of `input_ids` is the T ids from there on; `numbers` is the file as int32, for the
    counts and the ends of lists. Nothing is read before it is asked for.
    """
    path = folder / str(part["file"])
    if not path.is_file() or path.stat().st_size != part["bytes"]:
        raise LoaderError(f"{path}: is missing or cut short; build the shards again")
    try:
        with pa.memory_map(str(path)) as source:
            whole = source.read_buffer()
        reader = pa.ipc.open_file(whole)
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        names = [n for n in COLUMNS if n != "loss_spans" or n in reader.schema.names]
        kinds = [reader.schema.field(name).type for name in names]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise LoaderError(f"{path}: is no Arrow file of packed rows") from error
    dtypes = [np.dtype(getattr(kind, "value_type", kind).to_pandas_dtype()) for kind in kinds]
    flat = [np.frombuffer(whole, dtype, whole.size // dtype.itemsize) for dtype in dtypes]
    views = dict(zip(names, flat, strict=True))
    places = np.zeros(len(batches), PLACE)
    for place, batch in zip(places, batches, strict=True):
        place["rows"] = batch.num_rows
        for name, view in views.items():
            at = [b.address - whole.address if b else 0 for b in batch.column(name).buffers()]
            if batch.column(name).null_count or not 0 <= min(at) <= max(at) < whole.size:
                raise LoaderError(f"{path}: {name} is compressed or has nulls")
            place[name], place[f"{name} ends"] = at[-1] // view.itemsize, at[1] // 4
    views["numbers"] = np.frombuffer(whole, np.int32, whole.size // 4)
    ids = views["input_ids"]
    wide = np.dtype((np.void, size * ids.itemsize))  # as one item a row is copied at once
    views["input_ids"] = np.ndarray(len(ids) - size + 1, wide, whole, 0, ids.strides)
    return views, places


def _starts(lengths: npt.NDArray[Any]) -> Ints:
    """Where each of the given lengths starts, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _ranges(starts: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> Ints:
    """`starts[i], starts[i] + 1, ...`, `lengths[i]` of them, for every i."""
    before = _starts(lengths)
    return np.repeat(starts - before[:-1], lengths) + np.arange(before[-1])


@dataclass(frozen=True)
class Collator:
    """A batch for training from what `Rows` gives; also a `data_collator` of transformers.

    Fixed rows are [n, T]. Flattened, the batch is one sequence [1, tokens] without the padding,
    which is what FlashAttention's variable-length kernels take.
    """

    flatten: bool = False
    tensors: Literal["numpy", "torch"] = "torch"

    def __call__(self, batch: Batch) -> dict[str, Any]:
        found = expand(batch)
        if self.flatten:
            real = np.arange(batch.input_ids.shape[1]) < batch.n_tokens[:, None]
            found = {name: values[real][None] for name, values in found.items()}
        if self.tensors == "numpy":
            return found
        import torch  # noqa: PLC0415 - the one thing that tensors need

        return {name: torch.from_numpy(values) for name, values in found.items()}


def expand(batch: Batch) -> dict[str, Ints]:
    """`input_ids`, `position_ids` and `labels`, all int64 [n, T].

    Padding is found by its place, never by its id: that may be the end of a document too.
    """
    n, size = batch.input_ids.shape
    lengths, first = batch.seq_lengths
    starts, row_starts = _starts(lengths), np.arange(n) * size
    if (starts[first[:-1]] != row_starts).any() or starts[-1] != n * size:
        raise LoaderError(f"seq_lengths do not add up to rows of {size} tokens")
    steps = np.ones(n * size, np.int64)
    steps[starts[1:-1]] -= lengths[:-1]
    steps[0] = 0
    ids = batch.input_ids.astype(np.int64)
    labels = ids.flatten()
    labels[starts[:-1]] = IGNORED
    labels[_ranges(row_starts + batch.n_tokens, size - batch.n_tokens)] = IGNORED
    if batch.loss_spans is not None:
        values, begins = batch.loss_spans
        edges = np.repeat(row_starts, np.diff(begins)) + values
        turns = np.zeros(n * size + 1, np.int8)
        turns[edges[::2]] += 1
        turns[edges[1::2]] -= 1
        labels[np.cumsum(turns[:-1], dtype=np.int8) == 0] = IGNORED
    positions = np.cumsum(steps, out=steps).reshape(n, size)
    return {"input_ids": ids, "position_ids": positions, "labels": labels.reshape(n, size)}


@dataclass
class Loader:
    """Batches of one rank; an iteration is an epoch, whose order (seed, epoch) decides.

    `batch_rows` are a step's rows over all ranks, of which a rank takes every `world_size`-th:
    a step has the same rows and a state means the same whatever the world size is. Rows that
    fill no batch at an epoch's end, others in each, are left out unless `drop_last` is False.
    """

    rows: Rows
    batch_rows: int
    _: KW_ONLY
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    shuffle: bool = True
    drop_last: bool = True
    collate: Callable[[Batch], dict[str, Any]] = Collator()
    epoch: int = field(default=0, init=False)
    row: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raises LoaderError for sizes that do not fit each other or the rows."""
        if not 0 <= self.rank < self.world_size:
            raise LoaderError(f"rank {self.rank} does not lie in [0, {self.world_size})")
        if self.batch_rows < 1 or self.batch_rows % self.world_size:
            sizes = f"world_size {self.world_size} and batch_rows {self.batch_rows}"
            raise LoaderError(f"{sizes}: the first must divide the second")
        if not self.drop_last and self.world_size > 1:
            raise LoaderError("drop_last=False needs world_size=1: ranks would differ in steps")
        if not len(self):
            raise LoaderError(f"{len(self.rows)} rows are not one batch of {self.batch_rows}")

    def __len__(self) -> int:
        return (len(self.rows) + (0 if self.drop_last else self.batch_rows - 1)) // self.batch_rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rest of the epoch; the state is that after the batch which was given last."""
        torch = sys.modules.get("torch.utils.data")
        if torch is not None and torch.get_worker_info() is not None:
            raise LoaderError("a worker would repeat every batch: use num_workers=0")
        self._turn()
        epoch = self.epoch
        while epoch == self.epoch:
            last = min(self.row + self.batch_rows, len(self.rows))
            chosen = np.arange(self.row + self.rank, last, self.world_size)
            if self.shuffle:
                chosen = order_rows(len(self.rows), self.seed, epoch)[chosen]
            batch = self.collate(self.rows.take(chosen))
            self.row = last
            self._turn()
            yield batch

    def _turn(self) -> None:
        if self.row + (self.batch_rows if self.drop_last else 1) > len(self.rows):
            self.epoch, self.row = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """All there is to resume from; the same on every rank."""
        return {name: getattr(self.rows if "hash" in name else self, name) for name in STATE}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises LoaderError for a state of other shards."""
        if set(state) != set(STATE) or not 0 <= state["row"] < len(self.rows):
            raise LoaderError(f"{dict(state)} is no state of {len(self.rows)} rows")
        if state["manifest_hash"] != self.rows.manifest_hash:
            found = f"{self.rows.folder} has {self.rows.manifest_hash}"
            raise LoaderError(f"the state is of manifest {state['manifest_hash']}, {found}")
        self.seed, self.epoch, self.row = state["seed"], state["epoch"], state["row"]


@functools.lru_cache(maxsize=1)
def order_rows(rows: int, seed: int, epoch: int) -> Ints:
    """A permutation from the raw bits of Philox, which NumPy keeps as they are across versions,
    unlike its shuffles; 8 bytes a row."""
    bits = np.random.Philox(key=[seed, epoch]).random_raw(rows)
    return np.argsort(bits, kind="stable")
