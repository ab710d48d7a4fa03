"""Curate: each filter writes verdicts on the samples that the filters before it kept.

Neighbouring row filters share one pass over a part: it is read once, and each filter of the
run writes its own stage. Samples themselves are never copied.
"""

import itertools
import json
from collections.abc import Sequence

import polars as pl

from data import schema
from filters import CorpusFilter, Filter
from flows.plan import Plan, Step
from flows.stages import Runner, kept_samples, run_parts, sample_parts


def curate(plan: Plan, run: Runner = run_parts) -> None:
    """Run the filters whose stage is not done, in the recipe's order."""
    numbered = list(enumerate(plan.steps))
    for row_wise, group in itertools.groupby(numbered, lambda s: isinstance(s[1].judge, Filter)):
        steps = list(itertools.dropwhile(lambda step: step[1].verdicts.done, group))
        if row_wise and steps:
            _judge_rows(plan, steps, run)
        elif not row_wise:
            for number, step in steps:
                if not step.verdicts.done:
                    _judge_corpus(plan, number, step, run)


def _judge_rows(plan: Plan, steps: Sequence[tuple[int, Step]], run: Runner) -> None:
    """One pass for all steps from the first unfinished one on; verdicts that are there count."""
    parts = len(sample_parts(plan))
    waiting = [step for _, step in steps if not step.verdicts.done]
    for step in waiting:
        step.verdicts.begin()

    def work(index: int) -> None:
        samples = kept_samples(plan, index, steps[0][0])
        for _, step in steps:
            if step.verdicts.has(index):
                rejected = pl.DataFrame(step.verdicts.read(index))
            else:
                rejected = _reject(step, samples)
                step.verdicts.write(index, rejected.to_arrow().cast(schema.VERDICTS))
            samples = samples.join(rejected, on="id", how="anti", maintain_order="left")

    missing = [i for i in range(parts) if not all(s.verdicts.has(i) for _, s in steps)]
    run("+".join(step.settings.filter for _, step in steps), work, missing)
    for step in waiting:
        step.verdicts.finish()


def _reject(step: Step, samples: pl.DataFrame) -> pl.DataFrame:
    judge = step.judge
    if not isinstance(judge, Filter):
        raise TypeError(f"{step.settings.filter} is no row filter")
    judged = samples.filter(_in_scope(step))
    reasons = judge.reasons(judged).rename("reason").cast(pl.String)
    rejected = judged.with_columns(reasons).filter(pl.col("reason").is_not_null())
    figures = judge.figures(rejected)
    return rejected.select(
        "id",
        filter=pl.lit(step.settings.filter),
        reason="reason",
        figures=pl.Series(
            [json.dumps(row) for row in figures.iter_rows(named=True)], dtype=pl.String
        ),
    )


def _judge_corpus(plan: Plan, number: int, step: Step, run: Runner) -> None:
    judge, stage = step.judge, step.verdicts
    if not isinstance(judge, CorpusFilter):
        raise TypeError(f"{step.settings.filter} is no corpus filter")
    parts = range(len(sample_parts(plan)))
    stage.begin()

    def sketch(index: int) -> None:
        samples = kept_samples(plan, index, number).filter(_in_scope(step))
        stage.write(index, judge.sketch(samples).to_arrow(), "sketches")

    run(f"{stage.name}.sketch", sketch, [i for i in parts if not stage.has(i, "sketches")])

    def resolve(index: int) -> None:
        sketches = [pl.DataFrame(stage.read(part, "sketches")) for part in parts]
        rejected = judge.resolve(pl.concat(sketches)).select(
            "id", filter=pl.lit(step.settings.filter), reason="reason", figures="figures"
        )
        for part, sketched in zip(parts, sketches, strict=True):
            own = sketched.select("id").join(rejected, on="id", maintain_order="left")
            stage.write(part, own.to_arrow().cast(schema.VERDICTS))

    run(f"{stage.name}.resolve", resolve, [0])
    stage.finish()


def _in_scope(step: Step) -> pl.Expr:
    """`only` and `except` name sources or tags."""

    def named(names: Sequence[str]) -> pl.Expr:
        listed = list(names)
        return pl.col("source").is_in(listed) | pl.col("tag").is_in(listed).fill_null(False)

    scope = pl.lit(True)
    if step.settings.only:
        scope = scope & named(step.settings.only)
    if step.settings.except_:
        scope = scope & ~named(step.settings.except_)
    return scope
