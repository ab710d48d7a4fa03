"""How long `shardmill explain` takes on a build of a million samples, made here.

    python -m benchmarks.explain make FOLDER [--samples 1000000]
    python -m benchmarks.explain ask FOLDER

`make` writes stages of the very form that a build has: parts of 1,000 rows, duplicates of both
kinds, shards of 1,024 tokens. `ask` puts questions, each in a process of its own: one without an
index, then, once the indexes are made as a build makes them at its end, all others. Seconds are of
the answer, imports left out; a scan of all parts by polars and the whole command stand beside it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data import schema
from data.formats import to_arrow
from data.parts import Stage
from data.shards import Layout, write_shards
from data.tokenization import load_tokenizer

PART = 1000
WORDS = "the ladder of the market stands by the river and the sailor waits for the winter " * 4
TOKENS = 60
CLUSTER = 3


def make(out: Path, samples: int) -> None:
    shutil.rmtree(out, ignore_errors=True)
    ids = schema.hash_rows([str(n).encode() for n in range(samples)])
    seeds = Stage(out, "seeds.topics", {})
    prompts = Stage(out, "prompts.books", {"kind": "textbook"}, [seeds])
    asked = {"model": "made", "revision": "main", "sampling": {"temperature": 0.8}}
    completions = Stage(out, "completions.books", asked, [prompts])
    kept = Stage(out, "samples.books", {}, [prompts, completions])
    length = Stage(out, "verdicts.1.length", {"knobs": {}}, [kept])
    alike = Stage(out, "verdicts.2.near_duplicate", {"knobs": {}}, [kept, length])
    same = Stage(out, "verdicts.3.exact_duplicate", {"knobs": {}}, [kept, alike])
    tokens = Stage(out, "tokens.pretrain", {}, [kept, same])
    shards = Stage(out, "shards.pretrain", {}, [tokens], at=out / "shards" / "pretrain")
    stages = [seeds, prompts, completions, kept, length, alike, same, tokens]
    for stage in stages:
        stage.folder.mkdir(parents=True)
    cluster = np.arange(samples) // CLUSTER * CLUSTER
    duplicate = (cluster % 60 == 0) & (np.arange(samples) % CLUSTER > 0)
    short = np.arange(samples) % 50 == 7
    for part in range(-(-samples // PART)):
        rows = np.arange(part * PART, min(samples, (part + 1) * PART))
        _part(part, rows, ids, prompts, completions, kept)
        _verdicts(length, part, ids[rows[short[rows]]], "length", "too_short", '{"tokens": 9}')
        fallen = rows[duplicate[rows] & ~short[rows]]
        figures = [
            json.dumps({"kept": schema.show_id(int(ids[cluster[n]])), "similarity": 0.8})
            for n in fallen.tolist()
        ]
        _verdicts(alike, part, ids[fallen], "near_duplicate", "like_another", figures)
        copies = rows[rows % 100 == 31]
        shown = [json.dumps({"kept": schema.show_id(int(id))}) for id in ids[copies - 1]]
        _verdicts(same, part, ids[copies], "exact_duplicate", "same_text", shown)
        _tokens(tokens, part, ids[rows[~(duplicate | short)[rows] & (rows % 100 != 31)]])
    seed = pa.table({"id": ids[:1000], "at": ["t.jsonl:1"] * 1000, "fields": ["{}"] * 1000})
    seeds.write_arrow(0, seed.cast(schema.SEEDS))
    _pairs(alike, ids, np.flatnonzero(duplicate), cluster)
    for stage in stages:
        stage.finish(sources=["books"])
    layout = Layout(1024, 65_536, 0.01, 0, {})
    facts = {"recipe": "made", "sequence_length": 1024}
    tokenizer = load_tokenizer("gpt2")
    write_shards(tokens, shards, layout, tokenizer, facts)
    (shards.folder / "tokenizer.json").write_text(tokenizer.json())
    _recipe(out, [prompts, completions, kept, seeds], [length, alike, same], tokens)
    print(f"{samples} samples, {sum(1 for _ in out.rglob('*'))} files")


def _write(stage: Stage, part: int, table: pa.Table, name: str = "part") -> None:
    pq.write_table(table, stage.file(part, name), compression="zstd")


def _part(
    part: int,
    rows: np.ndarray,
    ids: np.ndarray,
    prompts: Stage,
    completions: Stage,
    kept: Stage,
) -> None:
    count, texts = len(rows), [f"{n} {WORDS}" for n in rows.tolist()]
    common = {"id": ids[rows], "seed_id": ids[rows % 1000], "seed_text": ["ice"] * count}
    about = {name: ["x"] * count for name in ("topic", "format", "audience")}
    turns = [[{"role": "user", "content": f"Write of {n}."}] for n in rows.tolist()]
    asked = {**common, **about, "knobs": ["{}"] * count, "seed": ["{}"] * count, "messages": turns}
    _write(prompts, part, pa.table(asked).select(schema.PROMPTS.names).cast(schema.PROMPTS))
    counts = {name: [TOKENS] * count for name in ("prompt_tokens", "completion_tokens")}
    reply = {
        **{"id": ids[rows], "keys": [["k"]] * count, "text": texts, **counts},
        "messages": pa.nulls(count, pa.list_(schema.MESSAGE)),
        "finish_reason": ["stop"] * count,
        "error": pa.nulls(count, pa.string()),
    }
    _write(completions, part, pa.table(reply).select(schema.COMPLETIONS.names))
    names = ("source", "kind", "tag", "prompt", "model", "licence", "finish_reason")
    sample = {
        **common,
        **about,
        **{name: ["books"] * count for name in names},
        **{"text": texts, "messages": reply["messages"], "meta": ["{}"] * count, **counts},
        "tokens": [TOKENS] * count,
    }
    _write(kept, part, pa.table(sample).select(schema.SAMPLES.names).cast(schema.SAMPLES))
    _write(kept, part, schema.VERDICTS.empty_table(), "verdicts")


def _verdicts(
    stage: Stage, part: int, ids: np.ndarray, name: str, reason: str, figures: str | list[str]
) -> None:
    told = [figures] * len(ids) if isinstance(figures, str) else figures
    columns = [ids, [name] * len(ids), [reason] * len(ids), told]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema.VERDICTS, strict=True)]
    _write(stage, part, pa.Table.from_arrays(arrays, schema=schema.VERDICTS))


def _pairs(stage: Stage, ids: np.ndarray, fallen: np.ndarray, cluster: np.ndarray) -> None:
    shown = [[schema.show_id(int(id)) for id in ids[at]] for at in (cluster[fallen], fallen)]
    table = pa.table({"id": shown[0], "other": shown[1], "similarity": np.full(len(fallen), 0.8)})
    _write(stage, 0, table, "pairs")


def _tokens(stage: Stage, part: int, ids: np.ndarray) -> None:
    flat = np.tile(np.arange(TOKENS, dtype=np.uint16), len(ids))
    offsets = np.arange(len(ids) + 1, dtype=np.int64) * TOKENS
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat))
    arrays = [pa.array(ids), pa.array(np.zeros(len(ids), np.uint8)), lists]
    table = pa.Table.from_arrays(arrays, schema=schema.tokens_schema(pa.uint16()))
    with open(stage.file(part, suffix="arrow"), "wb") as file:
        file.write(to_arrow(table, max(1, len(ids))))


def _recipe(out: Path, of_source: list[Stage], steps: list[Stage], tokens: Stage) -> None:
    """What flows/storing.py writes."""
    stages = [*of_source, *steps, tokens]
    about = {"only": [], "except": [], "cleans": False}
    facts = {
        "recipe": "made",
        "hash": "",
        "sources": {"books": {s.name.partition(".")[0]: s.folder.name for s in of_source}},
        "steps": [
            {
                **about,
                "filter": step.name.rpartition(".")[2],
                "compares": number > 0,
                "stage": step.folder.name,
            }
            for number, step in enumerate(steps)
        ],
        "outputs": {"pretrain": {"tokens": tokens.folder.name, "sources": ["books"]}},
        "stages": {
            s.folder.name: {
                "name": s.name,
                "settings": s.settings,
                "inputs": [read.folder.name for read in s.inputs],
            }
            for s in stages
        },
    }
    (out / "recipes").mkdir()
    (out / "recipes" / "made.json").write_text(json.dumps(facts))


ASK = """
import sys, time
from pathlib import Path
import pyarrow.parquet, polars as pl
from flows.lookup import id_ranges
from flows.placing import find_token, is_address
from flows.story import find_story
out, what = Path(sys.argv[1]), sys.argv[2]
wall, cpu = time.perf_counter(), time.process_time()
ranges = [(find_token(out, what)[0],) * 2] if is_address(what) else id_ranges(what)
story = find_story(out, ranges, what)
spent = time.perf_counter() - wall, time.process_time() - cpu
found = sum(len(o["rows"]) for o in story["outputs"])
alike = [len(s["cluster"]["members"]) for s in story["steps"] if s["cluster"]]
print(f"{spent[0]:.2f} s, {spent[1]:.2f} CPU s: {story['state']}, {found} rows, alike {alike}")
"""


INDEX = """
import resource, sys, time
from pathlib import Path
import polars as pl
from flows.lookup import index_build
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wall, cpu = time.perf_counter(), time.process_time()
index_build(Path(sys.argv[1]), "made")
spent = time.perf_counter() - wall, time.process_time() - cpu
more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(f"{spent[0]:.2f} s, {spent[1]:.2f} CPU s, {more / 1024:.0f} MB more memory")
"""


def ask(out: Path) -> None:
    def forget() -> None:
        for index in out.glob("stages/*/*.ipc"):
            index.unlink()

    def run(*command: str) -> str:
        words = [sys.executable, *command]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    samples = len(list(out.glob("stages/samples.*/part-*"))) * PART
    id = [schema.show_id(schema.hash_bytes(str(n).encode())) for n in (samples // 2, 1, 7, 31, 30)]
    questions = {
        "an id": id[0],
        "a prefix": id[0][:10],
        "a near-duplicate": id[1],
        "an exact duplicate": id[3],
        "one that stays": id[4],
        "too short": id[2],
        "a token": "pretrain/train-00000-of-00001.arrow:9:500",
    }
    forget()
    print(f"an id, without an index: {run('-c', ASK, str(out), id[0])}")
    forget()
    print(f"all indexes: {run('-c', INDEX, str(out))}")
    for name, what in questions.items():
        print(f"{name}: {run('-c', ASK, str(out), what)}")
    for name in ("an id", "a token"):
        before = os.times()
        run("-m", "flows", "explain", str(out), questions[name])
        after = os.times()
        children = after.children_user + after.children_system
        cost = children - before.children_user - before.children_system
        print(f"the whole command, {name}: {cost:.2f} CPU s")
    files = sorted(out.glob("stages/samples.*/part-*"))
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        scan = pl.scan_parquet(files, glob=False).filter(pl.col("id") == int(id[0], 16))
        scan.select("id", "source").collect()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        print(f"polars over all parts: {spent[0]:.2f} s, {spent[1]:.2f} CPU s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["make", "ask"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.samples)
    else:
        ask(given.folder)
