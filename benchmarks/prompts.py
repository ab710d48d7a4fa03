"""A million prompts from the shipped seeds on one core: seconds, peak memory, distinct share.

    python -m benchmarks.prompts [--rows 1000000]

Every kind that shipped seeds fit gets an equal share of the rows. Its knobs of fixed choices and
its counts are varied; the prompts stage is built as a build does it, files on disk included.
"""

import argparse
import os
import resource
import tempfile
import time
import typing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from data.errors import RecipeError
from flows.plan import Plan, make_plan
from flows.preview import shipped_seeds
from flows.prompting import duplicates, render_prompts
from flows.recipe import Recipe
from flows.seeds import read_seeds
from prompts import TaskKind, list_kinds, load_kind

SECONDS, GIGABYTES, DISTINCT = 60, 2.0, 0.999
LENGTHS = list(range(100, 1100))
"""Values of a kind's `words`, the one knob that all prose kinds have."""
WORDS = {"noun": "nouns", "verb": "verbs", "adjective": "adjectives"}


def varied(kind: type[TaskKind]) -> dict[str, Any]:
    """Every knob of fixed choices over all of them, lengths over LENGTHS, words from the lists."""
    knobs: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        choices = typing.get_args(field.annotation)
        if typing.get_origin(field.annotation) is typing.Literal:
            knobs[name] = list(choices)
        elif name == "words":
            knobs[name] = LENGTHS
        elif name in WORDS and Path(f"data/seeds/{WORDS[name]}.txt").is_file():
            knobs[name] = {"file": f"data/seeds/{WORDS[name]}.txt"}
    return knobs


def combinations(kind: str, path: Path, vary: dict[str, Any]) -> int:
    """How many prompts the seeds and knobs could give."""
    count = sum(1 for _ in path.open("rb"))
    for choices in vary.values():
        here = Path(choices["file"]) if isinstance(choices, dict) else None
        count *= sum(1 for _ in here.open("rb")) if here else len(choices)
    return count


def plan(rows: int, out: Path) -> Plan:
    room = {}
    for name in list_kinds():
        vary = varied(load_kind(name))
        try:
            path = shipped_seeds(name)
        except RecipeError:
            continue
        room[name] = (path, vary, combinations(name, path, vary))
    generate: dict[str, Any] = {}
    left = rows
    for number, name in enumerate(sorted(room, key=lambda name: room[name][2])):
        path, vary, most = room[name]
        samples = min(most, left // (len(room) - number))
        left -= samples
        entry = {"kind": name, "seeds": {"file": str(path)}, "samples": samples, "vary": vary}
        generate[name] = entry
    recipe = {"name": "prompts", "engine": {"model": "none"}, "generate": generate}
    return make_plan(Recipe.model_validate({**recipe, "outputs": {"none": {}}}), out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to build prompts.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        made = plan(rows, Path(folder))
        start, cpu = time.monotonic(), time.process_time()
        for source in made.generated:
            began = time.monotonic()
            read_seeds(source)
            render_prompts(source, made.recipe.seed, made.recipe.part_rows)
            seconds = time.monotonic() - began
            samples = source.settings.samples
            print(f"{source.name:<20} {samples:>9,} prompts {seconds:7.1f} s")
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        asked = sum(source.settings.samples for source in made.generated)
        lost = sum(duplicates(source) for source in made.generated)
        files = str(Path(folder) / "stages" / "prompts.*" / "digests-*.parquet")
        digests = pl.scan_parquet(files).select(pl.col("digest").n_unique(), rows=pl.len())
        distinct, kept = digests.collect().row(0)
    share = distinct / asked
    print(
        f"{asked:,} prompts: {seconds:.1f} s ({cpu:.1f} s of CPU; wanted under {SECONDS}), "
        f"peak {peak:.2f} GiB (wanted under {GIGABYTES:g}), {share:.3%} distinct "
        f"(wanted {DISTINCT:.1%}); {lost:,} duplicates left out, {kept:,} rendered"
    )


if __name__ == "__main__":
    main()
