"""How long samples are, before and after curation."""

import polars as pl

from flows.page.batches import Batch

PER_DOUBLING = 2
"""Bins of lengths between one power of two and the next."""
_KEY = ["part", "id"]


class Lengths:
    """Counts samples by length: `bin`, `before` (what parsing took) and `after` curation.

    Bin n holds lengths of 2^(n / PER_DOUBLING) GPT-2 tokens and more.
    """

    def __init__(self) -> None:
        self._counted: list[pl.DataFrame] = []

    def add(self, batch: Batch) -> None:
        taken = batch.samples.select("part", "id", "tokens")
        if len(batch.refused):
            taken = taken.join(batch.refused, on=_KEY, how="anti")
        fallen = [rows.select(_KEY) for rows in batch.verdicts if len(rows)]
        kept = taken.join(pl.concat(fallen), on=_KEY, how="anti") if fallen else taken
        for changed in batch.changes:
            if len(changed):
                joined = kept.join(changed, on=_KEY, how="left", suffix="_now")
                kept = joined.select(*_KEY, tokens=pl.coalesce("tokens_now", "tokens"))
        for name, rows in (("before", taken), ("after", kept)):
            self._counted.append(rows.group_by(bin=_bin()).agg(pl.len().cast(pl.Int64).alias(name)))

    def table(self) -> pl.DataFrame:
        empty = pl.DataFrame(schema={"bin": pl.Int64, "before": pl.Int64, "after": pl.Int64})
        both = pl.concat([empty, *self._counted], how="diagonal")
        return both.group_by("bin").agg(pl.col("before", "after").sum()).sort("bin")


def _bin() -> pl.Expr:
    tokens = pl.col("tokens").clip(lower_bound=1).cast(pl.Float64)
    # a hair more, so that powers of two never fall into the bin below
    return (tokens.log(2) * PER_DOUBLING + 1e-9).floor().cast(pl.Int64)


def bin_start(number: int) -> float:
    return float(2.0 ** (number / PER_DOUBLING))
