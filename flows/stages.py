"""What each stage does with its parts; every function can be called again at any time.

A stage that is done is left alone. Otherwise its missing parts are made, each by `run`, which
a flow gives as Prefect tasks and a test as a plain loop, and then its manifest.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from data.parts import Stage
from filters import Cleaner
from flows.plan import AnySource, Plan

Work = Callable[[int], None]
Runner = Callable[[str, Work, Sequence[int]], None]
"""Given a stage's name, the work on one part and the parts to make."""


class Missing(list[int]):
    """The parts that are not there yet; `there` tells of one at any later time."""

    def __init__(self, parts: Iterable[int], there: Callable[[int], bool]) -> None:
        super().__init__(index for index in parts if not there(index))
        self.there = there


@dataclass(frozen=True)
class Counted:
    """Work, and what this process does after each part; `work` alone is sent to another one."""

    work: Work
    made: Callable[[], None]

    def __call__(self, index: int) -> None:
        self.work(index)
        self.made()


def run_parts(name: str, work: Work, indices: Sequence[int]) -> None:
    """The plainest runner: one part after the other."""
    for index in indices:
        work(index)


def sample_parts(plan: Plan) -> list[tuple[AnySource, int]]:
    """All sample parts of a build in their order: verdict part n speaks of the n-th."""
    return [(source, part) for source in plan.sources for part in range(source.samples.count())]


def sample_part(plan: Plan, index: int) -> tuple[AnySource, int]:
    """The n-th of `sample_parts`, without listing them all for each."""
    part = index
    for source in plan.sources:
        count = source.samples.count()
        if part < count:
            return source, part
        part -= count
    raise IndexError(f"there is no sample part {index}")


def kept_samples(plan: Plan, index: int, steps: int | None = None) -> pl.DataFrame:
    """The n-th sample part as the first `steps` filters leave it: without the samples that
    they or parsing rejected, and with the text that cleaners made of the others."""
    source, part = sample_part(plan, index)
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

    def there(index: int) -> bool:
        return all(stage.has(index, table, suffix) for table in tables)

    run(stage.name, work, Missing(range(parts), there))
    stage.finish(**facts)
