"""Reject samples that loop: too much of the text repeats earlier n-grams or lines."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.kernels import repeated_ngrams, utf8
from filters.texts import body

TAGS_THAT_REPEAT = ("Code",)


class Repetition(Filter):
    """Reject samples that loop: too much of the text lies in n-grams that came before.

    The measure of Gopher's "duplicate n-gram character fraction" (Rae et al. 2021), at one n.
    """

    ngram: int = Field(6, ge=2, le=32)
    """Words that count as one repeated piece."""
    max_share: float = Field(0.25, ge=0, le=1)
    """Share of characters that may lie in such pieces."""
    max_share_code: float = Field(0.6, ge=0, le=1)
    """For samples tagged Code, where repetition is normal."""

    def _shares(self, samples: pl.DataFrame) -> pl.Series:
        return pl.Series("share", repeated_ngrams(*utf8(body(samples)), self.ngram))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        code = pl.col("tag").is_in(TAGS_THAT_REPEAT).fill_null(False)
        limit = pl.when(code).then(self.max_share_code).otherwise(self.max_share)
        return samples.with_columns(self._shares(samples)).select(
            reason=pl.when(pl.col("share") > limit).then(pl.lit("repeats_itself"))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"repeated_share": self._shares(samples).round(3)})

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "I am not sure what you mean by that. " * 6},
                {"text": "Each of these words is here once, and none of them comes back."},
            ),
            reasons=("repeats_itself", None),
        ),
        Example(
            samples=({"text": "if x == 1: return 2 * x\n" * 3, "tag": "Code"}, {"text": ""}),
            reasons=(None, None),
            knobs={"max_share_code": 0.9},
        ),
    )
