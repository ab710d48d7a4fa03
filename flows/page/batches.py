"""The parts of a build, a batch of them at a time: every count of the page takes one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from flows.page.stored import Stored

AT_ONCE = 200
"""Parts of a batch."""
DUPLICATES = ("exact_duplicate", "near_duplicate")
"""Filters whose figures name the sample that stays of a group."""
FALLEN = {
    "part": pl.UInt32,
    "id": pl.UInt64,
    "filter": pl.String,
    "reason": pl.String,
    "figures": pl.String,
}


@dataclass(frozen=True)
class Batch:
    """Frames whose `part` is the number of a sample part among all of the build."""

    samples: pl.DataFrame
    """`part`, `id`, `source`, `tokens`."""
    refused: pl.DataFrame
    """What parsing rejected: FALLEN, without figures."""
    verdicts: list[pl.DataFrame]
    """Of each step: FALLEN, with the figures of filters for duplicates alone."""
    changes: list[pl.DataFrame]
    """Of each cleaner, in their order: `part`, `id`, `tokens`."""


def batches(build: Stored) -> Iterator[Batch]:
    for first in range(0, len(build.parts), AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, len(build.parts)))
        yield Batch(
            build.samples(numbers, ["id", "source", "tokens"]),
            _fallen(build.refused(numbers, ["id", "filter", "reason"])),
            [_verdicts(build, number, numbers) for number in range(len(build.steps))],
            [
                build.of_step(number, "changes", numbers, ["id", "tokens"])
                for number, step in enumerate(build.steps)
                if step["cleaner"]
            ],
        )


def _verdicts(build: Stored, step: int, numbers: Sequence[int]) -> pl.DataFrame:
    figures = ["figures"] if build.steps[step]["filter"] in DUPLICATES else []
    columns = ["id", "filter", "reason", *figures]
    return _fallen(build.of_step(step, "part", numbers, columns))


def _fallen(rows: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None, kind).alias(name) for name, kind in FALLEN.items() if name not in rows]
    return rows.with_columns(missing).select(
        pl.col(name).cast(kind) for name, kind in FALLEN.items()
    )
