"""How long samples are, before and after curation, and in which part a sample lies."""

from collections.abc import Iterable

import polars as pl

from flows.page.stored import Stored

PER_DOUBLING = 2
"""Bins of lengths between one power of two and the next."""


def lengths(build: Stored) -> pl.DataFrame:
    """Samples by length: `source`, `bin`, `before` (what parsing took) and `after` curation.

    Bin n holds lengths of 2^(n / PER_DOUBLING) GPT-2 tokens and more.
    """
    tables = []
    for index in range(len(build.parts)):
        samples = build.samples(index, ["id", "source", "tokens"])
        taken = samples.join(build.refused(index, ["id"]), on="id", how="anti")
        fallen = [build.verdicts(n, index, ["id"]) for n in range(len(build.steps))]
        kept = taken.join(pl.concat(fallen), on="id", how="anti") if fallen else taken
        for changed in build.changes(index, ["id", "tokens"]):
            new = changed.rename({"tokens": "now"})
            joined = kept.join(new, on="id", how="left", maintain_order="left")
            kept = joined.with_columns(tokens=pl.coalesce("now", "tokens")).drop("now")
        for side, rows in (("before", taken), ("after", kept)):
            tables.append(rows.group_by("source", bin=_bin()).len().with_columns(side=pl.lit(side)))
    empty = pl.DataFrame(
        schema={"source": pl.String, "bin": pl.Int64, "len": pl.UInt32, "side": pl.String}
    )
    both = pl.concat([empty, *tables], how="vertical_relaxed")
    return (
        both.group_by("source", "bin")
        .agg(
            before=pl.col("len").filter(pl.col("side") == "before").sum().cast(pl.Int64),
            after=pl.col("len").filter(pl.col("side") == "after").sum().cast(pl.Int64),
        )
        .sort("source", "bin")
    )


def _bin() -> pl.Expr:
    tokens = pl.col("tokens").clip(lower_bound=1).cast(pl.Float64)
    # a hair more, so that powers of two never fall into the bin below
    return (tokens.log(2) * PER_DOUBLING + 1e-9).floor().cast(pl.Int64)


def bin_start(number: int) -> float:
    return float(2.0 ** (number / PER_DOUBLING))


def places(build: Stored, ids: Iterable[int]) -> dict[int, int]:
    """The part in which each of these samples lies; texts of earlier builds lie in none."""
    left = set(ids)
    found: dict[int, int] = {}
    for index in range(len(build.parts)):
        if not left:
            break
        wanted = pl.Series(sorted(left), dtype=pl.UInt64)
        here = build.samples(index, ["id"])["id"]
        hits = here.filter(here.is_in(wanted.implode())).to_list()
        found |= dict.fromkeys(hits, index)
        left -= set(hits)
    return found
