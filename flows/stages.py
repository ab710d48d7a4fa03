"""What each stage does with its parts; every function can be called again at any time.

A stage that is done is left alone. Otherwise its missing parts are made, each by `run`, which
a flow gives as Prefect tasks and a test as a plain loop, and then its manifest.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from data import schema
from data.parts import Stage
from data.shards import Layout, write_shards
from data.templates import TEMPLATES
from data.tokenization import load_tokenizer
from filters import Cleaner
from flows.plan import Plan, Source, Target

Work = Callable[[int], None]
Runner = Callable[[str, Work, Sequence[int]], None]
"""Given a stage's name, the work on one part and the parts to make."""


def run_parts(name: str, work: Work, indices: Sequence[int]) -> None:
    """The plainest runner: one part after the other."""
    for index in indices:
        work(index)


def tokenize(plan: Plan, target: Target, run: Runner = run_parts) -> None:
    """Kept samples of the output's sources as ids, an end-of-text id behind each."""
    stage = target.tokens
    if stage.done:
        return
    tokenizer = load_tokenizer(target.settings.tokenizer)
    template = TEMPLATES[target.settings.render.template]
    kind = schema.id_type(tokenizer.vocabulary)
    parts = sample_parts(plan)

    def work(index: int) -> None:
        source, _ = parts[index]
        number = target.sources.index(source.name) if source.name in target.sources else -1
        samples = kept_samples(plan, index)
        if number < 0:
            samples = samples.clear()
        ids, offsets = tokenizer.encode(template(samples).to_list())
        ids = np.insert(ids, offsets[1:], tokenizer.eos).astype(kind.to_pandas_dtype())
        ends = offsets + np.arange(len(offsets))
        table = pa.table(
            [
                samples["id"].to_arrow(),
                pa.array([max(number, 0)] * len(samples), pa.uint8()),
                pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(ids, kind)),
            ],
            schema=schema.tokens_schema(kind),
        )
        stage.write_arrow(index, table)

    fill(stage, len(parts), work, run, suffix="arrow", sources=list(target.sources))


def pack(plan: Plan, target: Target, run: Runner = run_parts) -> None:
    """The output's shards, their manifest last."""
    if target.shards.done:
        return
    settings = target.settings
    layout = Layout(
        sequence_length=settings.sequence_length,
        rows_per_shard=settings.rows_per_shard,
        validation=settings.validation,
        seed=plan.recipe.seed,
        repeat={name: settings.mix[name].repeat for name in settings.mix},
    )
    tokenizer = load_tokenizer(settings.tokenizer)

    def work(index: int) -> None:
        write_shards(target.tokens, target.shards, layout, tokenizer, target.shards.settings)

    run(target.shards.name, work, [0])


def sample_parts(plan: Plan) -> list[tuple[Source, int]]:
    """All sample parts of a build in their order: verdict part n speaks of the n-th."""
    return [(source, part) for source in plan.sources for part in range(source.samples.count())]


def kept_samples(plan: Plan, index: int, steps: int | None = None) -> pl.DataFrame:
    """The n-th sample part as the first `steps` filters leave it: without the samples that
    they or parsing rejected, and with the text that cleaners made of the others."""
    source, part = sample_parts(plan)[index]
    samples = pl.DataFrame(source.samples.read(part))
    verdicts = [source.samples.read(part, "verdicts")]
    verdicts += [step.verdicts.read(index) for step in plan.steps[:steps]]
    rejected = pl.concat([pl.DataFrame(table).select("id") for table in verdicts])
    kept = samples.join(rejected, on="id", how="anti", maintain_order="left")
    for step in plan.steps[:steps]:
        if isinstance(step.judge, Cleaner):
            kept = apply_changes(kept, pl.DataFrame(step.verdicts.read(index, "changes")))
    return kept


def apply_changes(samples: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """The samples with the text, turns and tokens that a cleaner gave some of them."""
    if changes.is_empty():
        return samples
    new = changes.select("id", _changed=True, _text="text", _messages="messages", _tokens="tokens")
    changed = pl.col("_changed").fill_null(False)
    return (
        samples.join(new, on="id", how="left", maintain_order="left")
        .with_columns(
            pl.when(changed).then(f"_{name}").otherwise(name).alias(name)
            for name in ("text", "messages", "tokens")
        )
        .drop("_changed", "_text", "_messages", "_tokens")
    )


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
