"""Packing: planning and gathering against TRL's, 10M documents, token parts to shards on disk.

    python benchmarks/packing.py trl [DOCUMENTS]     ours and TRL's bfd_split, end to end
    python benchmarks/packing.py plan [DOCUMENTS]    planning alone: seconds and memory
    python benchmarks/packing.py write [DOCUMENTS]   token parts to shards, on one core

TRL is put under runs/benchmarks/trl, without what it would pull in. Prints figures and ratios;
DECISIONS.md keeps what was measured.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TRL = ROOT / "runs" / "benchmarks" / "trl"
SIZE = 2048


def lengths(count: int) -> npt.NDArray[np.int64]:
    """Lognormal with a mean of 727 tokens, as Cosmopedia's."""
    drawn = np.random.default_rng(0).lognormal(6.26, 0.81, count)
    return np.maximum(1, drawn).astype(np.int64)


def ids_of(count: int) -> npt.NDArray[np.uint64]:
    from data.packing import mix64

    return mix64(np.arange(count, dtype=np.uint64), 0)


class Clock:
    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def warm() -> None:
    from data.packing import copy_segments, pack

    pack(np.array([3, 4]), ids_of(2), 8, 0)
    small = np.zeros(4, np.uint16)
    copy_segments(
        small, np.zeros(1, np.int64), small.copy(), np.zeros(1, np.int64), np.ones(1, np.int64)
    )


def against_trl(count: int) -> None:
    from data.packing import copy_segments, pack

    if not TRL.is_dir():
        pip = [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--target", str(TRL)]
        subprocess.run([*pip, "trl"], check=True)
    sys.path.append(str(TRL))
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    import pyarrow as pa
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    warm()
    sizes, ids = lengths(count), ids_of(count)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    flat = np.resize(np.arange(50257, dtype=np.uint16), offsets[-1])
    table = pa.table({"input_ids": pa.LargeListArray.from_arrays(offsets, flat)})
    rounds = []
    for _ in range(3):  # the median: gathering is memory alone, and others use that too
        clock = Clock()
        packing = pack(sizes, ids, SIZE, 0)
        planned = clock.read()
        starts = np.repeat(packing.row_starts[:-1], np.diff(packing.row_starts))
        before = np.cumsum(packing.length, dtype=np.int64) - packing.length
        row = np.repeat(np.arange(packing.rows), np.diff(packing.row_starts))
        places = row * SIZE + before - before[starts]
        rows = np.empty(packing.rows * SIZE, np.uint16)
        first = offsets[packing.document] + packing.offset
        copy_segments(flat, first, rows, places, packing.length.astype(np.int64))
        rounds.append((*clock.read()[::-1], planned[1]))
        filled = len(rows)
        del rows
    ours = sorted(rounds)[1]
    fill = sizes.sum() / filled
    split = (np.bincount(packing.document) > 1).mean()
    lost = int(sizes.sum() - packing.length.sum(dtype=np.int64))
    print(f"ours: plan {ours[2]:.2f}, plan and gather {ours[0]:.2f} CPU s, {ours[1]:.2f} s "
          f"({', '.join(f'{r[0]:.2f}' for r in rounds)}); fill {fill:.4%}, "
          f"{split:.1%} of documents split, {lost} tokens lost", flush=True)  # fmt: skip
    clock = Clock()
    packed = pack_dataset(Dataset(table), SIZE, strategy="bfd_split")
    theirs = clock.read()
    tokens = sum(len(chunk.values) for chunk in packed.data["input_ids"].chunks)
    print(f"TRL bfd_split: {theirs[1]:.2f} CPU s, {theirs[0]:.2f} s; "
          f"fill {tokens / (len(packed) * SIZE):.4%}")  # fmt: skip
    print(f"ratio {theirs[1] / ours[0]:.1f} in CPU s (bar 25), {theirs[0] / ours[1]:.1f} in s")


def plan_alone(count: int) -> None:
    from data.packing import pack

    warm()
    sizes, ids = lengths(count), ids_of(count)
    for size in (1024, SIZE):
        clock = Clock()
        packing = pack(sizes, ids, size, 0)
        wall, cpu = clock.read()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        fill = sizes.sum() / packing.rows / size
        print(f"T={size}: {count:,} documents in {cpu:.2f} CPU s, {wall:.2f} s (bar 5), "
              f"fill {fill:.3%}, peak {peak:.2f} GB (bar 2)")  # fmt: skip


def write(count: int) -> None:
    from data.parts import Stage
    from data.shards import Layout, write_shards
    from data.tokenization import load_tokenizer

    os.sched_setaffinity(0, {0})
    warm()
    with tempfile.TemporaryDirectory(dir=ROOT / "runs") as folder:
        tokens = _token_parts(Path(folder), count)
        layout = Layout(1024, 65_536, 0.01, 0, {})
        tokenizer = load_tokenizer("gpt2")
        for round in ("first", "second"):  # the first compiles
            shards = Stage(Path(folder), round, {}, [tokens])
            clock = Clock()
            write_shards(tokens, shards, layout, tokenizer, {"sequence_length": 1024})
            wall, cpu = clock.read()
        train: dict[str, Any] = (shards.manifest or {})["splits"]["train"]
        print(f"{train['tokens'] / 1e6:.0f}M tokens to {train['rows']:,} rows: {cpu:.2f} CPU s, "
              f"{wall:.2f} s, {train['tokens'] / cpu / 1e6:.0f}M tokens a CPU s (bar 100), "
              f"fill {train['fill']:.3%}")  # fmt: skip


def _token_parts(out: Path, count: int) -> Any:
    import pyarrow as pa

    from data import schema
    from data.parts import Stage

    stage = Stage(out, "tokens.bench", {})
    stage.begin()
    sizes, ids = lengths(count), ids_of(count)
    form = schema.tokens_schema(pa.uint16())
    for part, start in enumerate(range(0, count, 10_000)):
        here = slice(start, start + 10_000)
        offsets = np.concatenate(([0], np.cumsum(sizes[here])))
        flat = (np.arange(offsets[-1]) % 50256).astype(np.uint16)
        columns = [
            pa.array(ids[here]),
            pa.array(np.zeros(len(ids[here]), np.uint8)),
            pa.LargeListArray.from_arrays(offsets, flat),
        ]
        stage.write_arrow(part, pa.Table.from_arrays(columns, schema=form))
    stage.finish(sources=["bench"])
    return stage


COMMANDS = {
    "trl": (against_trl, 1_000_000),
    "plan": (plan_alone, 10_000_000),
    "write": (write, 300_000),
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    (ROOT / "runs").mkdir(exist_ok=True)
    command, usual = COMMANDS[sys.argv[1]]
    command(int(sys.argv[2]) if len(sys.argv) > 2 else usual)
