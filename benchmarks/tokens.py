"""Tokenizing: Parquet to token parts, against datatrove's DocumentTokenizer.

    python benchmarks/tokens.py [PARTS]     parts of 1,000 documents; 20 where left out

Both read the same Parquet and write ids with an end of text behind each document; the ids must
be equal. Each side is a process of its own; CPU seconds count its start too. Ours is run again
on a quarter of the parts, to show that its memory does not grow.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
ROWS = 1000


def corpus(folder: Path, parts: int) -> None:
    """Words of the shipped seeds in a random order, lognormal lengths."""
    import polars as pl
    import pyarrow.parquet as pq

    from data import schema

    lines = [line for file in sorted((ROOT / "data" / "seeds").glob("*.jsonl"))
             for line in file.read_text().splitlines()]  # fmt: skip
    words = np.array(" ".join(str(v) for line in lines for v in json.loads(line).values()).split())
    rng = np.random.default_rng(0)
    for part in range(parts):
        sizes = rng.lognormal(6.0, 0.8, ROWS).astype(int) + 1
        texts = [" ".join(rng.choice(words, size)) for size in sizes]
        ids = np.arange(part * ROWS, (part + 1) * ROWS, dtype=np.uint64)
        frame = pl.DataFrame({"id": ids, "text": texts}).with_columns(licence=pl.lit("mit"))
        empty = pl.DataFrame(schema.SAMPLES.empty_table())
        table = pl.concat([empty, frame], how="diagonal").to_arrow().cast(schema.SAMPLES)
        pq.write_table(table, folder / f"part-{part:05d}.parquet")


def ours(source: Path, target: Path, parts: int) -> None:
    import polars as pl

    from data.parts import Stage
    from flows.outputs import part_tokens
    from flows.recipe import Output
    from flows.rendering import resolve_output

    rendering = resolve_output("bench", Output.model_validate({"tokenizer": "gpt2"}))
    stage = Stage(target, "tokens.bench", {})
    stage.begin()
    for part in range(parts):
        samples = pl.read_parquet(source / f"part-{part:05d}.parquet")
        table = part_tokens(samples, 0, rendering, rendering.tokenizer, check=True)
        if table is None:
            sys.exit("the fast encoder differs from the reference")
        stage.write_arrow(part, table)
    stage.finish(sources=["bench"])


def datatrove(source: Path, target: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    from data.tokenization import load_tokenizer

    tokenizer = target / "tokenizer.json"
    tokenizer.write_text(load_tokenizer("gpt2").json())
    pipeline = [
        ParquetReader(str(source)),
        DocumentTokenizer(
            str(target / "ds"),
            local_working_dir=str(target / "work"),
            tokenizer_name_or_path=str(tokenizer),
            eos_token="<|endoftext|>",
            shuffle_documents=False,
        ),
    ]
    LocalPipelineExecutor(pipeline, tasks=1, logging_dir=str(target / "logs")).run()


def measured(*words: str) -> tuple[float, float]:
    """CPU seconds and peak GB of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = (
        "import resource, runpy, sys; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__'); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", script, __file__, *words]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, int(shown.stdout.split()[-1]) / 1e6


def compare(parts: int) -> None:
    import pyarrow as pa

    (ROOT / "runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "runs") as name:
        folder = Path(name)
        for side in ("source", "ours", "small", "datatrove"):
            (folder / side).mkdir()
        corpus(folder / "source", parts)
        measured("ours", str(folder / "source"), str(folder / "small"), "1")  # compiles kernels
        small = measured(
            "ours", str(folder / "source"), str(folder / "small"), str(parts // 4 or 1)
        )
        mine = measured("ours", str(folder / "source"), str(folder / "ours"), str(parts))
        theirs = measured("datatrove", str(folder / "source"), str(folder / "datatrove"))
        files = sorted((folder / "ours").rglob("part-*.arrow"))
        ids = [pa.ipc.open_file(f).read_all()["input_ids"].combine_chunks() for f in files]
        here = np.concatenate([lists.values.to_numpy() for lists in ids])
        there = np.concatenate(
            [np.fromfile(f, np.uint16) for f in sorted((folder / "datatrove" / "ds").glob("*.ds"))]
        )
        print(f"{len(here) / 1e6:.1f}M tokens; equal ids: {np.array_equal(here, there)}")
        print(f"ours: {mine[0]:.2f} CPU s, peak {mine[1]:.2f} GB; of a quarter {small[1]:.2f} GB")
        print(f"datatrove: {theirs[0]:.2f} CPU s, peak {theirs[1]:.2f} GB")
        marginal = (mine[0] - small[0]) / (parts - (parts // 4 or 1)) * parts
        print(f"ratio {theirs[0] / mine[0]:.1f} with start-up, {theirs[0] / marginal:.1f} without "
              f"ours ({marginal:.2f} CPU s) (bar 30)")  # fmt: skip


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", source, target, parts]:
            ours(Path(source), Path(target), int(parts))
        case ["datatrove", source, target]:
            datatrove(Path(source), Path(target))
        case [] | [_]:
            compare(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
        case _:
            sys.exit(__doc__)
