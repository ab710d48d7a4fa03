"""A build of many documents on few cores: time, bytes and peak memory of each stage.

    python benchmarks/scale.py [--documents 100000 1000000] [--words 160] [--folder DIR]

Documents are made of random words, their lengths drawn as Cosmopedia's (log-normal) around
`--words`; of ten, one is a copy of an earlier one with some words changed. They are read, curated
(length, exact and near duplicates), tokenized and packed, parts side by side in `--threads`. For
each size a process of its own; at the end growth from each size to the next. What `plan` says of
disk before the build stands beside what the build left.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

BATCH = 50_000
RECIPE = """
name: scale
corpora:
  made: {{file: "{files}", as: text, licence: cc0-1.0}}
curate:
  - length: {{min_tokens: 20}}
  - exact_duplicate: {{}}
  - near_duplicate: {{}}
outputs:
  pretrain: {{tokenizer: gpt2, sequence_length: 2048, render: {{template: plain}}}}
part_rows: {part_rows}
"""


def words() -> pa.Array:
    from benchmarks.made_texts import words_of

    return pa.array(np.unique(words_of(None)).tolist(), pa.string())


def batches(documents: int, mean: float, seed: int = 0) -> Iterator[pa.Array]:
    """Texts, BATCH at a time; half of the copies are of the first batch's documents."""
    draw = np.random.default_rng(seed)
    known = words()
    first: list[np.ndarray[Any, Any]] = []
    for start in range(0, documents, BATCH):
        count = min(BATCH, documents - start)
        lengths = draw.lognormal(np.log(mean) - 0.1, 0.45, count).clip(25, 20 * mean).astype(int)
        ends = np.cumsum(lengths)
        flat = draw.integers(0, len(known), int(ends[-1]))
        texts = np.split(flat, ends[:-1])
        for place in draw.choice(count, count // 10, replace=False).tolist():
            pool = first if first and draw.random() < 0.5 else texts
            copy = pool[int(draw.integers(len(pool)))].copy()
            edits = draw.integers(0, len(copy), max(1, len(copy) // 30))
            copy[edits] = draw.integers(0, len(known), len(edits))
            texts[place] = copy
        first = first or texts
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int32)
        picked = known.take(pa.array(np.concatenate(texts)))
        yield pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), picked), " ")


def make(folder: Path, documents: int, mean: float) -> int:
    """Parquet files of the documents; gives the bytes of text."""
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    for number, texts in enumerate(batches(documents, mean)):
        size += int(pc.sum(pc.binary_length(texts)).as_py())
        path = folder / f"made-{number:05d}.parquet"
        pq.write_table(pa.table({"text": texts}), path, compression="zstd", row_group_size=5000)
    return size


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Memory:
    """The most memory that this process holds of its own while the context lasts, in MB, looked
    at every 20 ms; `mapped` counts the pages of mapped files too, which the kernel takes back
    when it needs them."""

    def __enter__(self) -> "Memory":
        self.own = self.mapped = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            sizes = {text.split(":")[0]: text.split()[1] for text in lines if text[:3] == "Rss"}
            own, files = (int(sizes[name]) / 1024 for name in ("RssAnon", "RssFile"))
            self.own, self.mapped = max(self.own, own), max(self.mapped, own + files)


def measure(folder: Path, documents: int, threads: int, part_rows: int) -> dict[str, Any]:
    """Build in this process; a line a stage."""
    from flows.build import read_corpora, run_outputs
    from flows.curation import curate
    from flows.plan import plan_build
    from flows.progress import Progress
    from flows.stages import Work
    from flows.storing import store_build

    recipe = folder / "scale.yaml"
    recipe.write_text(RECIPE.format(files=folder / "made" / "*.parquet", part_rows=part_rows))
    plan = plan_build(str(recipe), folder / "out")
    progress = Progress(log=lambda line: None)
    stages: dict[str, dict[str, float]] = {}

    def run(name: str, work: Work, indices: Sequence[int]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, indices):
                pass

    def timed(name: str, what: Any) -> None:
        before, start = folder_bytes(folder / "out"), time.monotonic()
        cpu = time.process_time()
        with Memory() as memory:
            what()
        stages[name] = {
            "seconds": time.monotonic() - start,
            "cpu": time.process_time() - cpu,
            "mb": memory.own,
            "mapped": memory.mapped,
            "bytes": folder_bytes(folder / "out") - before,
        }
        print(f"  {name:16}", line(stages[name], documents), flush=True)

    def one_filter(number: int) -> None:
        from dataclasses import replace

        curate(replace(plan, steps=plan.steps[: number + 1]), run)

    (folder / "out").mkdir(exist_ok=True)
    store_build(plan)
    timed("read", lambda: read_corpora(plan, progress.say, run))
    for number, step in enumerate(plan.steps):
        timed(step.settings.filter, lambda number=number: one_filter(number))
    timed("tokens and shards", lambda: run_outputs(plan, progress, run))
    manifest = plan.targets[0].shards.manifest or {}
    train = manifest["splits"]["train"]
    return {
        "documents": documents,
        "stages": stages,
        "tokens": train["tokens"],
        "kept": train["documents"],
        "fill": train["fill"],
        "disk": folder_bytes(folder / "out"),
    }


def line(found: dict[str, float], documents: int) -> str:
    return (
        f"{found['seconds']:8.1f} s  CPU {found['cpu']:8.1f} s  peak {found['mb']:5.0f} MB "
        f"({found['mapped']:5.0f} with mapped files)  "
        f"{found['bytes'] / documents:7.0f} bytes/document  "
        f"{documents / max(found['seconds'], 1e-9):9,.0f} documents/s"
    )


def whole(found: dict[str, Any]) -> dict[str, float]:
    stages = found["stages"].values()
    sums = {name: sum(stage[name] for stage in stages) for name in ("seconds", "cpu", "bytes")}
    return sums | {name: max(stage[name] for stage in stages) for name in ("mb", "mapped")}


def planned_disk(recipe: Path, out: Path) -> str:
    words = ["-m", "flows", "plan", str(recipe), "--out", str(out)]
    said = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, check=True
    )
    lines = [text for text in said.stdout.splitlines() if text.startswith("disk")]
    return lines[0] if lines else "plan says nothing of disk"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, nargs="+", default=[100_000, 1_000_000])
    options.add_argument("--words", type=float, default=160)
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--part-rows", type=int, default=10_000)
    options.add_argument("--folder", type=Path, default=ROOT / "runs" / "scale")
    options.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        found = measure(given.folder, given.documents[0], given.threads, given.part_rows)
        (given.folder / "found.json").write_text(json.dumps(found))
        return
    results = []
    for documents in given.documents:
        shutil.rmtree(given.folder, ignore_errors=True)
        start = time.monotonic()
        size = make(given.folder / "made", documents, given.words)
        took = time.monotonic() - start
        print(f"{documents:,} documents, {size / 1e9:.2f} GB of text in {took:.0f} s", flush=True)
        command = [sys.executable, __file__, "--child", "--folder", given.folder]
        command += ["--documents", documents, "--threads", given.threads]
        command += ["--part-rows", given.part_rows]
        subprocess.run(list(map(str, command)), check=True)
        found = json.loads((given.folder / "found.json").read_text())
        results.append(found)
        sums = whole(found)
        print(f"  {'in all':16}", line(sums, documents))
        print(
            f"  {found['kept']:,} documents kept, {found['tokens']:,} tokens, fill "
            f"{found['fill']:.2%}; left on disk {found['disk'] / 1e9:.2f} GB"
        )
        shutil.rmtree(given.folder / "out")
        print(f"  {planned_disk(given.folder / 'scale.yaml', given.folder / 'out')}")
    shutil.rmtree(given.folder)
    for before, after in itertools.pairwise(results):
        times = after["documents"] / before["documents"]
        one, other = whole(before), whole(after)
        cpu, wall = (other[name] / one[name] for name in ("cpu", "seconds"))
        print(
            f"{before['documents']:,} to {after['documents']:,}, {times:g} times (at most "
            f"{times * 1.1:.1f}): CPU {cpu:.2f} times, wall {wall:.2f} times; peak "
            f"{one['mb']:.0f} to {other['mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
