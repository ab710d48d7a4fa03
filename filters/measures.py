"""Figures of texts that several filters read, computed once a part."""

from collections.abc import Callable, Sequence

import polars as pl

MEASURES: dict[str, Callable[[pl.DataFrame], pl.Series]] = {}


def measure(samples: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The samples with a struct column for each table of figures that is not there yet."""
    return samples.with_columns(
        MEASURES[name](samples).alias(name) for name in names if name not in samples.columns
    )
