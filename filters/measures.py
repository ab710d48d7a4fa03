"""Figures of texts that several filters read, computed once for all filters of a pass."""

from collections.abc import Sequence

import polars as pl

from filters.kernels import utf8
from filters.spacing import abbreviations, traits, units, word_hashes
from filters.text_figures import REPETITION, WORDS, text_figures
from filters.texts import body

STOP_WORDS = "the be to of and that have with"
"""Gopher's (Rae et al. 2021, A.1.1)."""
SHORT_LINE = 30
"""Characters; FineWeb's (Penedo et al. 2024)."""


def measure(samples: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The samples with a struct column for each of "words" and "repetition" that is asked for
    and not there yet."""
    missing = [name for name in dict.fromkeys(names) if name not in samples.columns]
    if not missing:
        return samples
    data, offsets = utf8(body(samples))
    figures = text_figures(
        data,
        offsets,
        traits(),
        abbreviations(),
        units(),
        word_hashes(STOP_WORDS),
        SHORT_LINE,
        "repetition" in missing,
    )
    columns = (*WORDS, *REPETITION)[: figures.shape[1]]
    table = pl.DataFrame(dict(zip(columns, figures.T.copy(), strict=True)))
    structs = {"words": WORDS, "repetition": ("characters", *REPETITION)}
    return samples.with_columns(table.select(structs[name]).to_struct(name) for name in missing)


def figure(table: str, name: str) -> pl.Expr:
    return pl.col(table).struct.field(name)
