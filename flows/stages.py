"""What each stage does with its parts; every function can be called again at any time.

A stage that is done is left alone. Otherwise its missing parts are made, each by `run`, which
a flow gives as Prefect tasks and a test as a plain loop, and then its manifest.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from data import schema
from data.errors import SourceError
from data.parts import Stage
from data.sources import read_json_lines
from flows.plan import Plan, Source
from flows.recipe import make_knobs

Work = Callable[[int], None]
Runner = Callable[[str, Work, Sequence[int]], None]
"""Given a stage's name, the work on one part and the parts to make."""


def run_parts(name: str, work: Work, indices: Sequence[int]) -> None:
    """The plainest runner: one part after the other."""
    for index in indices:
        work(index)


def read_seeds(source: Source, run: Runner = run_parts) -> None:
    """The seed file's rows with their ids; equal rows are one seed."""
    stage = source.seeds
    if stage.done:
        return

    def work(index: int) -> None:
        rows = list(_seed_rows(source))
        fields = [schema.canonical(row).decode("utf-8", "replace") for row in rows]
        table = pa.table(
            {"id": [schema.make_id(["seed", row]) for row in rows], "fields": fields},
            schema=schema.SEEDS,
        )
        frame = pl.DataFrame(table).unique("id", keep="first", maintain_order=True)
        stage.write(index, frame.to_arrow().cast(schema.SEEDS))

    stage.begin()
    run(stage.name, work, [0])
    stage.finish(rows=stage.read(0).num_rows)


def _seed_rows(source: Source) -> Iterator[dict[str, Any]]:
    """The rows of a file, or what an earlier generation kept: its seed's columns, `text` and
    `from_id`."""
    file = source.settings.seeds.file
    if file is not None:
        yield from read_json_lines(Path(file))
        return
    prompts, samples = source.seeds.inputs
    for part in range(samples.count()):
        refused = set(samples.read(part, "verdicts")["id"].to_pylist())
        seeds = prompts.read(part)["seed"].to_pylist()
        for row, seed in zip(samples.read(part).to_pylist(), seeds, strict=True):
            if row["id"] not in refused:
                text = row["text"] or "\n\n".join(m["content"] for m in row["messages"])
                yield {**json.loads(seed), "text": text, "from_id": schema.show_id(row["id"])}


def check_seeds(source: Source) -> None:
    """Raises SourceError where no seed is left or a column that the kind needs is missing."""
    seeds = source.settings.seeds
    file = seeds.file or f"samples of {seeds.from_}"
    frame = pl.DataFrame(source.seeds.read(0))
    if frame.is_empty():
        raise SourceError("holds no seeds", where=file, fix="add at least one JSON line")
    for number, fields in enumerate(frame["fields"], 1):
        seed = json.loads(fields)
        for column, kind in source.kind.NEEDS.items():
            problem = _wrong_value(seed.get(column), kind)
            if problem:
                shown = fields if len(fields) < 80 else f"{fields[:80]}..."
                raise SourceError(
                    f"seed {number} {problem} {column!r}, which the kind "
                    f"{source.settings.kind} needs: {shown}",
                    where=file,
                    fix=f"every seed needs {_described(source.kind.NEEDS)}",
                )


def _wrong_value(value: Any, kind: type) -> str:
    """What is wrong with a seed's column; empty where nothing is."""
    if value is None or value in ("", []):
        return "lacks"
    if kind is list:
        plain = isinstance(value, list) and all(isinstance(v, (str, int, float)) for v in value)
        return "" if plain else "has no list of texts or numbers as"
    return "" if isinstance(value, str) and value.strip() else "has no text as"


def _described(needs: Mapping[str, type]) -> str:
    return ", ".join(
        f"{name} (a {'list' if kind is list else 'text'})" for name, kind in needs.items()
    )


def render_prompts(source: Source, seed: int, part_rows: int, run: Runner = run_parts) -> None:
    """`samples` prompts: seeds in the order of a seeded hash, drawn again when used up."""
    stage = source.prompts
    if stage.done:
        return
    seeds = pl.DataFrame(source.seeds.read(0)).with_columns(
        order=pl.col("id").map_elements(
            lambda id: schema.make_id([seed, source.name, id]), return_dtype=pl.UInt64
        )
    )
    seeds = seeds.sort("order", "id")
    samples = source.settings.samples
    shares = source.settings.shares()

    def work(index: int) -> None:
        rows = [
            _prompt(source, seed, shares, seeds.row(n % len(seeds), named=True), n // len(seeds))
            for n in range(index * part_rows, min(samples, (index + 1) * part_rows))
        ]
        stage.write(index, pa.Table.from_pylist(rows, schema=schema.PROMPTS))

    fill(stage, -(-samples // part_rows), work, run, rows=samples)


def _prompt(
    source: Source, seed: int, shares: dict[str, dict[str, float]], row: dict[str, Any], turn: int
) -> dict[str, Any]:
    """One prompt. Its id follows from the seed row and the draws alone, so that more samples,
    other seeds or another order leave the prompts that stay as they are."""
    made_by = ["prompt", seed, source.name, source.settings.kind, row["id"], turn]
    drawn = {
        knob: json.loads(schema.choose(values, *made_by, knob)) for knob, values in shares.items()
    }
    knobs = {**source.settings.knobs, **drawn}
    kind = make_knobs(source.kind, knobs, source.settings.kind)
    fields = json.loads(row["fields"])
    return {
        "id": schema.make_id([*made_by, knobs]),
        "seed_id": row["id"],
        "seed_text": kind.topic(fields),
        "topic": str(fields.get("category") or kind.topic(fields)),
        "format": kind.format(),
        "audience": getattr(kind, "audience", None),
        "knobs": json.dumps(knobs, sort_keys=True),
        "seed": row["fields"],
        "messages": kind.messages(fields),
    }


def sample_parts(plan: Plan) -> list[tuple[Source, int]]:
    """All sample parts of a build in their order: verdict part n speaks of the n-th."""
    return [(source, part) for source in plan.sources for part in range(source.samples.count())]


def kept_samples(plan: Plan, index: int, steps: int | None = None) -> pl.DataFrame:
    """The n-th sample part without the samples that parsing or the first `steps` rejected."""
    source, part = sample_parts(plan)[index]
    samples = pl.DataFrame(source.samples.read(part))
    verdicts = [source.samples.read(part, "verdicts")]
    verdicts += [step.verdicts.read(index) for step in plan.steps[:steps]]
    rejected = pl.concat([pl.DataFrame(table).select("id") for table in verdicts])
    return samples.join(rejected, on="id", how="anti", maintain_order="left")


def fill(
    stage: Stage,
    parts: int,
    work: Work,
    run: Runner,
    *,
    suffix: str = "parquet",
    tables: Sequence[str] = ("part",),
    **facts: Any,
) -> None:
    """Make the missing parts of a stage and then its manifest."""
    stage.begin()
    run(
        stage.name,
        work,
        [i for i in range(parts) if not all(stage.has(i, table, suffix) for table in tables)],
    )
    stage.finish(**facts)
