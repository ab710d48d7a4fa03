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
Array = npt.NDArray[Any]
Found = tuple[Array, "Ragged", "Ragged | None"]  # counts of tokens, segment lengths, loss spans
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

    values: Array
    starts: Ints


@dataclass(frozen=True)
class Batch:
    """n rows of T ids as the shards hold them; `find` is asked once for the rest, at first use.
    Without loss spans every token is trained."""

    input_ids: Array
    find: Callable[[], Found]
    _found = functools.cached_property(lambda self: self.find())
    n_tokens = property(lambda self: self._found[0])
    seq_lengths = property(lambda self: self._found[1])
    loss_spans = property(lambda self: self._found[2])

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
            far = "; fetch it first, as with aws s3 sync" if "s3:/" in str(folder) else ""
            raise LoaderError(f"{self.folder}: holds no manifest.json of shards{far}") from error
        if not parts:
            raise LoaderError(f"{self.folder}: holds no rows of a split {split!r}")
        self.manifest_hash = hashlib.sha256(content).hexdigest()[:16]
        shards = [_map_shard(self.folder, part, self.sequence_length) for part in parts]
        self._views = [views for views, _ in shards]
        self._places = np.concatenate([places for _, places in shards])
        self._places["shard"] = np.repeat(np.arange(len(parts)), [len(p) for _, p in shards])
        self._starts = _starts(self._places["rows"])

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows, (self.folder, self.split)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: Sequence[int] | Ints) -> Batch:
        """The given rows in their order; the ids of a `range` in one record batch are a view."""
        size = self.sequence_length
        if isinstance(rows, range) and rows.step == 1 and 0 <= rows.start < rows.stop <= len(self):
            after = self._starts.searchsorted(rows.start, "right")
            if rows.stop <= self._starts[after]:
                first = self._places[after - 1]
                begin = first["input_ids"] + (rows.start - self._starts[after - 1]) * size
                ids = self._views[first["shard"]]["ids"][begin : begin + len(rows) * size]
                return Batch(ids.reshape(-1, size), functools.partial(self._find, rows))
        wanted = np.asarray(rows, np.int64)
        if not len(wanted) or not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"give at least one row, each in [0, {len(self)})")
        place = self._starts.searchsorted(wanted, "right") - 1
        at, row = self._places[place], wanted - self._starts[place]
        items = self._gather("input_ids", at["shard"], at["input_ids"] + row * size)
        ids = items.view(self._views[0]["ids"].dtype).reshape(-1, size)
        return Batch(ids, functools.partial(self._find, wanted))

    __getitems__ = take  # what a torch DataLoader asks for

    def _find(self, wanted: Sequence[int] | Ints) -> Found:
        place = self._starts.searchsorted(wanted, "right") - 1
        at, row = self._places[place], wanted - self._starts[place]
        names = [name for name in LISTS if name in self._views[0]]
        ends = [at[f"{name} ends"] + row + end for name in names for end in (0, 1)]
        numbers = self._gather("numbers", at["shard"], np.stack([at["n_tokens"] + row, *ends], 1))
        lists: dict[str, Ragged] = {}
        for name, begin, end in zip(names, numbers.T[1::2], numbers.T[2::2], strict=True):
            lengths = (end - begin).astype(np.int64)
            source = _ranges(at[name] + begin, lengths)
            values = self._gather(name, np.repeat(at["shard"], lengths), source)
            lists[name] = Ragged(values, _starts(lengths))
        return numbers[:, 0], lists["seq_lengths"], lists.get("loss_spans")

    def _gather(self, column: str, shard: Ints, at: Ints) -> Array:
        """Elements `at` of a column, each of its own shard."""
        numbers, views = np.unique(shard), [view[column] for view in self._views]
        if len(numbers) == 1:
            return np.asarray(views[numbers[0]][at])
        found: Array = np.empty(at.shape, views[0].dtype)
        for number in numbers:
            mine = np.flatnonzero(shard == number)
            found[mine] = views[number][at[mine]]
        return found


def _map_shard(folder: Path, part: Mapping[str, Any], size: int) -> tuple[dict[str, Array], Array]:
    """A file as one array a column, and where in it each record batch lies; nothing is read yet.

    `ids` are all of them, element i of `input_ids` the T ids from there on; `numbers` is the file
    as int32, for the counts and the ends of lists."""
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
    ids = views["ids"] = views["input_ids"]
    wide = np.dtype((np.void, size * ids.itemsize))  # as one item a row is copied at once
    views["input_ids"] = np.ndarray(len(ids) - size + 1, wide, whole, 0, ids.strides)
    return views, places


def _starts(lengths: Array) -> Ints:
    """Where each of the given lengths starts, and where the last one ends."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _ranges(starts: Array, lengths: Array) -> Ints:
    """`starts[i], starts[i] + 1, ...`, `lengths[i]` of them, for every i."""
    before = _starts(lengths)
    return np.repeat(starts - before[:-1], lengths) + np.arange(before[-1])


@dataclass(frozen=True)
class Collator:
    """A batch for training from what `Rows` gives; also a `data_collator` of transformers.

    Fixed rows are [n, T]. Flattened, the batch is one sequence [1, tokens] without the padding,
    which is what FlashAttention's variable-length kernels take."""

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
    """`input_ids`, `position_ids` and `labels`, all int64 [n, T]. Padding is found by its place,
    never by its id: that may be the end of a document too."""
    n, size = batch.input_ids.shape
    lengths, first = batch.seq_lengths
    starts, row_starts = _starts(lengths), np.arange(n) * size
    if (starts[first[:-1]] != row_starts).any() or starts[-1] != n * size:
        raise LoaderError(f"seq_lengths do not add up to rows of {size} tokens")
    positions = (np.arange(n * size) - np.repeat(starts[:-1], lengths)).reshape(n, size)
    ids = batch.input_ids.astype(np.int64)
    labels = ids.flatten()
    labels[starts[:-1]] = IGNORED
    labels[_ranges(row_starts + batch.n_tokens, size - batch.n_tokens)] = IGNORED
    if batch.loss_spans is not None:
        values, begins = batch.loss_spans
        edges = np.repeat(row_starts, np.diff(begins)) + values
        outside = np.ones(n * size, bool)
        outside[_ranges(edges[::2], edges[1::2] - edges[::2])] = False
        labels[outside] = IGNORED
    return {"input_ids": ids, "position_ids": positions, "labels": labels.reshape(n, size)}


@dataclass
class Loader:
    """Batches of one rank; an iteration is an epoch, whose order (seed, epoch) decides.

    `batch_rows` are a step's rows over all ranks, of which a rank takes every `world_size`-th:
    a step has the same rows and a state means the same whatever the world size is. Rows that
    fill no batch at an epoch's end, others in each, are left out unless `drop_last` is False."""

    rows: Rows
    batch_rows: int
    _: KW_ONLY
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    shuffle: bool = True
    drop_last: bool = True
    collate: Callable[[Batch], Any] = Collator()
    epoch: int = field(default=0, init=False)
    row: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raises LoaderError for sizes that do not fit each other or the rows."""
        if not 0 <= self.rank < self.world_size:
            raise LoaderError(f"rank {self.rank} does not lie in [0, {self.world_size})")
        if self.batch_rows < 1 or self.batch_rows % self.world_size:
            raise LoaderError(f"batch_rows {self.batch_rows} do not share out to {self.world_size}")
        if not self.drop_last and self.world_size > 1:
            raise LoaderError("drop_last=False needs world_size=1: ranks would differ in steps")
        if not len(self):
            raise LoaderError(f"{len(self.rows)} rows are not one batch of {self.batch_rows}")

    def __len__(self) -> int:
        return (len(self.rows) + (0 if self.drop_last else self.batch_rows - 1)) // self.batch_rows

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch; the state is that after the batch which was given last."""
        torch = sys.modules.get("torch.utils.data")
        if torch is not None and torch.get_worker_info() is not None:
            raise LoaderError("a worker would repeat every batch: use num_workers=0")
        self._turn()
        epoch, rows = self.epoch, len(self.rows)
        while epoch == self.epoch:
            last = min(self.row + self.batch_rows, rows)
            order = order_rows(rows, self.seed, epoch) if self.shuffle else range(rows)
            chosen = order[self.row + self.rank : last : self.world_size]
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


@functools.lru_cache(maxsize=2)
def order_rows(rows: int, seed: int, epoch: int) -> Ints:
    """A permutation from the raw bits of Philox, which NumPy keeps as they are across versions,
    unlike its shuffles; 8 bytes a row."""
    bits = np.random.Philox(key=[seed, epoch]).random_raw(rows)
    return np.argsort(bits, kind="stable")
