"""How fast shards are read: the loader beside a raw memmap, datasets, litdata and MosaicML.

    python benchmarks/reading.py            # 67M tokens; the peers' environments under runs/

One run, the same rows of 2,048 tokens for all, from the page cache, one process on one core.
"Ids" are bare: each side copies them from what it gives (views, in sequence) into one buffer of
1,024 rows of uint16, or of 64 rows of int64; neither reads a row's lengths, which the loader looks
up when they are asked for. Peers that know no blocks give a row at a time, in an array of its
own. "Training batches" are 64 rows of int64: ours input_ids, position_ids and labels, the
memmap's inputs and targets as nanoGPT makes them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "runs" / "reading"
SIZE = 2048
ROWS = 32_768
ROWS_PER_SHARD = 8192
BATCH = 64
BLOCK = 1024
SECONDS = 3.0
LITDATA = ["litdata==0.2.76", "lightning-utilities==0.15.3", "obstore==0.12.1", "boto3==1.44.5"]
LITDATA += ["botocore==1.44.5", "s3transfer==0.19.3", "tifffile==2026.3.3"]


def write() -> None:
    """Shards, a raw file of the same rows, and both peers' copies."""
    import pyarrow as pa

    from data.formats import to_arrow
    from data.parts import write_file
    from data.schema import packed_schema

    rng = np.random.default_rng(0)
    schema = packed_schema(pa.uint16(), SIZE)
    parts: list[dict[str, Any]] = []
    HOME.mkdir(parents=True, exist_ok=True)
    raw = open(HOME / "raw.bin", "wb")
    for _ in range(ROWS // ROWS_PER_SHARD):
        ids = rng.integers(0, 50257, (ROWS_PER_SHARD, SIZE), np.uint16)
        raw.write(ids.data)
        cuts = np.sort(rng.integers(1, SIZE, (ROWS_PER_SHARD, 2)), axis=1)
        cuts[:, 1] += cuts[:, 0] == cuts[:, 1]
        edges = np.column_stack([np.zeros(len(ids), int), cuts, np.full(len(ids), SIZE)])
        lengths = [row[row > 0].tolist() for row in np.diff(edges, axis=1)]
        table = pa.table(
            {
                "input_ids": pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), SIZE),
                "seq_lengths": pa.array(lengths, schema.field("seq_lengths").type),
                "n_tokens": pa.array(np.full(len(ids), SIZE, np.int32)),
            }
        )
        path = HOME / "shards" / f"train-{len(parts):05d}.arrow"
        write_file(path, to_arrow(table))
        about = {"file": path.name, "bytes": path.stat().st_size, "split": "train"}
        parts.append({**about, "rows": len(ids)})
    raw.close()
    manifest = {"sequence_length": SIZE, "splits": {"train": {}}, "parts": parts}
    write_file(HOME / "shards" / "manifest.json", json.dumps(manifest).encode())


Work = Callable[[], Iterator[int]]
"""One pass over all rows; gives the rows of each step."""


def rates(cases: dict[str, Work]) -> dict[str, float]:
    """Rows a second by the median step, passes in turn for about SECONDS a case, so that what
    else the machine does disturbs all alike; the first passes fill the page cache."""
    for work in cases.values():
        for _ in work():
            pass
    times: dict[str, list[float]] = {name: [] for name in cases}
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS * len(cases):
        for name, work in cases.items():
            before = since = time.perf_counter()
            for count in work():
                now = time.perf_counter()
                times[name].append((now - before) / count)
                if now - since > SECONDS:
                    break
                before = time.perf_counter()
    speeds = {name: 1 / float(np.median(steps)) for name, steps in times.items()}
    for name, speed in speeds.items():
        shown = f"{speed:12,.0f} rows/s {speed * SIZE / 1e6:10,.0f}M tokens/s"
        print(f"{name:42} {shown}", flush=True)
    return speeds


def rate(name: str, work: Work) -> None:
    rates({name: work})


def ours() -> None:
    from data.loader import Collator, Loader, Rows

    rows = Rows(HOME / "shards")
    raw = np.memmap(HOME / "raw.bin", np.uint16, "r").reshape(-1, SIZE)
    order = np.random.default_rng(1).permutation(ROWS)
    block, wide = np.empty((BLOCK, SIZE), np.uint16), np.empty((BATCH, SIZE), np.int64)

    def copied(step: int, pick: Callable[[int], Any], into: Any) -> Work:
        def work() -> Iterator[int]:
            for at in range(0, ROWS, step):
                np.copyto(into, pick(at))
                yield step

        return work

    def windows(at: int) -> Any:
        """nanoGPT's batch of inputs and targets, here of whole rows one after the other."""
        rows_ = [raw[i].astype(np.int64) for i in range(at, at + BATCH)]
        targets = [raw[i].astype(np.int64) for i in range(at, at + BATCH)]
        return np.stack(rows_), np.stack(targets)

    def loaded(step: int, into: Any) -> Work:
        def collate(batch: Any) -> int:
            np.copyto(into, batch.input_ids)
            return step

        loader = Loader(rows, step, shuffle=False, collate=collate)
        return lambda: iter(loader)

    def trained(**options: Any) -> Work:
        loader = Loader(rows, BATCH, collate=Collator(tensors="numpy"), **options)
        return lambda: (len(batch["input_ids"]) for batch in loader)

    def ids(wanted: Any) -> Any:
        return rows.take(wanted).input_ids

    groups: list[dict[str, Work]] = [
        {
            "memmap, ids in sequence": copied(BLOCK, lambda at: raw[at : at + BLOCK], block),
            "Rows.take, ids in sequence": copied(
                BLOCK, lambda at: ids(range(at, at + BLOCK)), block
            ),
            "Loader, ids in sequence": loaded(BLOCK, block),
        },
        {
            "memmap, int64 ids, batches of 64": copied(
                BATCH, lambda at: raw[at : at + BATCH], wide
            ),
            "Loader, int64 ids, batches of 64": loaded(BATCH, wide),
        },
        {
            "memmap, ids at random": copied(BLOCK, lambda at: raw[order[at : at + BLOCK]], block),
            "Rows.take, ids at random": copied(
                BLOCK, lambda at: ids(order[at : at + BLOCK]), block
            ),
        },
        {
            "memmap, x and y as nanoGPT": lambda: (
                len(windows(at)[0]) for at in range(0, ROWS, BATCH)
            ),
            "Loader, training batches in sequence": trained(shuffle=False),
            "Loader, training batches shuffled": trained(),
        },
    ]
    for group in groups:
        first, *others = rates(group).items()
        for name, speed in others:
            print(f"    {name}: {speed / first[1]:.2f} of the memmap", flush=True)


def with_datasets() -> None:
    import datasets

    datasets.disable_progress_bars()
    files = sorted(map(str, (HOME / "shards").glob("*.arrow")))
    cache = str(HOME / "cache")
    found = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=cache)
    found = found.select_columns(["input_ids"]).with_format("numpy")
    order = np.random.default_rng(1).permutation(ROWS)
    starts = range(0, ROWS, BLOCK)
    rate(
        "datasets, ids in sequence",
        lambda: (len(found[at : at + BLOCK]["input_ids"]) for at in starts),
    )
    rate(
        "datasets, ids at random",
        lambda: (len(found[order[at : at + BLOCK].tolist()]["input_ids"]) for at in starts),
    )


def with_mosaicml() -> None:
    from tests.consumers import stand_in_for_torchvision

    stand_in_for_torchvision()
    from streaming import LocalDataset, MDSWriter

    raw = np.memmap(HOME / "raw.bin", np.uint16, "r").reshape(-1, SIZE)
    folder = HOME / "mds"
    if not (folder / "index.json").exists():
        with MDSWriter(columns={"tokens": f"ndarray:uint16:{SIZE}"}, out=str(folder)) as writer:
            for row in raw:
                writer.write({"tokens": np.array(row)})
    found = LocalDataset(local=str(folder))
    order = np.random.default_rng(1).permutation(ROWS).tolist()
    rate(
        "mosaicml, ids in sequence",
        lambda: (len(found[i]["tokens"]) // SIZE for i in range(ROWS)),
    )
    rate("mosaicml, ids at random", lambda: (len(found[i]["tokens"]) // SIZE for i in order))


def with_litdata() -> None:
    import torch
    from litdata import StreamingDataset, TokensLoader
    from litdata.streaming.writer import BinaryWriter

    raw = np.memmap(HOME / "raw.bin", np.uint16, "r").reshape(-1, SIZE)
    folder = HOME / "litdata"
    if not (folder / "index.json").exists():
        folder.mkdir(exist_ok=True)
        writer = BinaryWriter(str(folder), chunk_bytes="64MB", item_loader=TokensLoader(SIZE))
        for number, row in enumerate(raw):
            writer[number] = [torch.from_numpy(row.astype(np.int32))]
        writer.done()
        writer.merge()
    for name, shuffle in (("in sequence", False), ("shuffled", True)):
        found = StreamingDataset(str(folder), item_loader=TokensLoader(SIZE), shuffle=shuffle)
        rate(f"litdata, ids {name}", partial(map, lambda _: 1, found))


def run_in(python: Path, what: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([python, __file__, what], cwd=ROOT, env=environment, check=True)


def litdata_python() -> Path:
    """An environment with litdata laid over that of the consumers, which has torch."""
    folder = HOME / "venv-litdata"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        over = [*(ROOT / ".venv-train").glob("lib/python*/site-packages")]
        over += (ROOT / ".venv-vllm").glob("lib/python*/site-packages")
        (site / "consumers.pth").write_text("\n".join(map(str, over)) + "\n")
        quiet = [
            str(python),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "-q",
            "install",
            "--no-deps",
        ]
        subprocess.run([*quiet, *LITDATA], check=True)
        (folder / ".ready").touch()
    return python


def main() -> None:
    sys.path.insert(0, str(ROOT))
    steps = {"ours": ours, "datasets": with_datasets}
    steps |= {"mosaicml": with_mosaicml, "litdata": with_litdata}
    if len(sys.argv) > 1:
        steps[sys.argv[1]]()
        return
    if not (HOME / "shards" / "manifest.json").exists():
        write()
    run_in(Path(sys.executable), "ours")
    run_in(Path(sys.executable), "datasets")
    run_in(ROOT / ".venv-train" / "bin" / "python", "mosaicml")
    run_in(litdata_python(), "litdata")


if __name__ == "__main__":
    main()
