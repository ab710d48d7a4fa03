"""What the report costs: `python -m benchmarks.page --samples 1000000`.

A build is made up on disk, in parts of 1,000 samples of 200 to 700 words, of which three filters
reject a third. The page is written once and held against plain reads: of all sample parts, and of
the columns alone that it counts, each part opened once. What a page costs at any size, its
pictures and its chosen texts, is told by a small build: `--samples 2000`.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.made_texts import corpus, words_of
from data import schema
from data.parts import Stage
from data.schema import show_id
from flows.lookup import index_build
from flows.stored import RECIPES

ROWS = 1000
FILTERS = ("length", "gopher_quality", "exact_duplicate")
VERDICTS = ["id", "filter", "reason", "figures"]


def make(out: Path, samples: int) -> list[Path]:
    """A finished build's files, and the sample parts among them."""
    made = Stage(out, "samples.books", {})
    steps = [Stage(out, f"verdicts.{n}.{name}", {}, [made]) for n, name in enumerate(FILTERS, 1)]
    shards = Stage(out, "shards.pretrain", {}, [made], at=out / "shards" / "pretrain")
    for stage in (made, *steps, shards):
        stage.folder.mkdir(parents=True)
    texts = [text for text, _ in corpus(words_of(None), ROWS)]
    dice = np.random.default_rng(0)
    filled = dict.fromkeys(schema.SAMPLES.names)
    counts = np.zeros(len(FILTERS) + 1, int)
    for part in range(samples // ROWS):
        ids = dice.integers(0, 2**63, ROWS, dtype=np.uint64)
        own: dict[str, Any] = {"id": ids, "source": "books", "text": texts, "model": "made"}
        own |= {"tokens": dice.lognormal(5.4, 0.6, ROWS).astype(np.int32), "topic": "a topic"}
        table = pl.DataFrame(filled | own, strict=False).to_arrow().cast(schema.SAMPLES)
        pq.write_table(table, made.file(part), compression="zstd")
        pq.write_table(schema.VERDICTS.empty_table(), made.file(part, "verdicts"))
        fate = dice.choice(len(FILTERS) + 1, ROWS, p=[0.67, 0.11, 0.11, 0.11])
        counts += np.bincount(fate, minlength=len(counts))
        for number, (name, stage) in enumerate(zip(FILTERS, steps, strict=True), 1):
            fallen = ids[fate == number]
            groups = dice.integers(0, samples // 50 + 1, len(fallen)).tolist()
            figures = [json.dumps({"kept": show_id(g), "size": 2 + g % 90}) for g in groups]
            reasons = [f"reason_{g % 4}" for g in groups]
            said = {"id": fallen, "filter": name, "reason": reasons, "figures": figures}
            pq.write_table(pl.DataFrame(said).to_arrow().cast(schema.VERDICTS), stage.file(part))
    for stage in (made, *steps):
        stage.finish()
    _shards(shards, samples // 3)
    _tables(out, made, steps, counts)
    return sorted(made.folder.glob("part-*"))


def _shards(stage: Stage, rows: int) -> None:
    dice = np.random.default_rng(1)
    held = [[0] * n for n in dice.integers(1, 6, rows).tolist()]
    tokens = dice.integers(480, 513, rows).astype(np.int32)
    frame = pl.DataFrame({"n_tokens": tokens, "doc_ids": held})
    frame.write_ipc(stage.folder / "train-00000-of-00001.arrow", compression="uncompressed")
    facts = {"rows": rows, "documents": rows, "documents_split": 0, "tokens": int(tokens.sum())}
    splits = {"train": {**facts, "fill": 0.97}}
    about: dict[str, Any] = {"packing": "made", "template": "made", "loss": "all"}
    stage.finish(splits=splits, rendering={"licences": {}}, sequence_length=512, **about)


def _tables(out: Path, made: Stage, steps: list[Stage], counts: Any) -> None:
    total = int(sum(counts))
    rows: list[tuple[Any, ...]] = [("books", None, "asked", None, None, total, 200 * total)]
    rows += [
        (
            "books",
            None,
            f"{n} {name}",
            name,
            f"reason_{k}",
            int(counts[n]) // 4,
            50 * int(counts[n]),
        )
        for n, name in enumerate(FILTERS, 1)
        for k in range(4)
    ]
    rows.append(("books", None, "kept", None, None, int(counts[0]), 200 * int(counts[0])))
    columns = ["source", "tag", "stage", "filter", "reason", "rows", "tokens"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(out / "funnel.csv")

    facts = {
        "recipe": "made",
        "versions": {},
        "sources": {"books": {"samples": made.folder.name}},
        "steps": [
            {
                "filter": name,
                "cleans": False,
                "compares": name == "exact_duplicate",
                "stage": stage.folder.name,
            }
            for name, stage in zip(FILTERS, steps, strict=True)
        ],
        "outputs": {"pretrain": {"sources": ["books"]}},
        "stages": {
            stage.folder.name: {"name": stage.name, "settings": {}, "inputs": []}
            for stage in (made, *steps)
        },
    }
    (out / RECIPES).mkdir()
    (out / RECIPES / "made.json").write_text(json.dumps(facts))
    (out / RECIPES / "made.yaml").write_text("name: made\nseed: 0\n")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--samples", type=int, default=1_000_000)
    samples = options.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        parts = make(Path(folder), samples)
        index_build(Path(folder), "made")  # as a build does
        begun = time.process_time()
        for path in parts:
            pq.read_table(path)
        read = time.process_time() - begun
        begun = time.process_time()
        for path in sorted(Path(folder).glob("stages/*/*.parquet")):
            verdicts = "verdicts" in f"{path.parent.name} {path.name}"
            pq.read_table(path, columns=VERDICTS if verdicts else ["id", "source", "tokens"])
        needed = time.process_time() - begun
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun, clock = time.process_time(), time.monotonic()
        from flows.page import write_page

        page = write_page(Path(folder))
        spent, waited = time.process_time() - begun, time.monotonic() - clock
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            f"{samples:,} samples: page {spent:.1f} s of CPU ({waited:.1f} s), {spent / read:.2f} "
            f"of a plain read of the samples ({read:.1f} s), {spent / needed:.2f} of one of the "
            f"needed columns ({needed:.1f} s); {more / 1024:.0f} MB more memory, "
            f"{page.stat().st_size / 1024:.0f} kB page"
        )


if __name__ == "__main__":
    main()
