"""Reject texts with too many digits."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.texts import body


class DigitRatio(Filter):
    """Reject texts with too many digits.

    Shares are of characters that are not white space.
    """

    max_share: float = Field(0.25, ge=0, le=1)
    """Share of digits that a text may have."""
    max_share_code: float = Field(0.5, ge=0, le=1)
    """For samples tagged Code or Math."""

    def _shares(self, samples: pl.DataFrame) -> pl.Series:
        text = body(samples)
        count = text.str.count_matches(r"\p{Nd}")
        return (count / text.str.count_matches(r"\S").clip(1)).rename("share")

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        dense = pl.col("tag").is_in(["Code", "Math"]).fill_null(False)
        limit = pl.when(dense).then(self.max_share_code).otherwise(self.max_share)
        return samples.with_columns(self._shares(samples)).select(
            reason=pl.when(pl.col("share") > limit).then(pl.lit("too_many_digits"))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"share": self._shares(samples).round(4)})

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The sea is deep, and it is wide."},
                {"text": "The sea 12345678901234"},
                {"text": "1 + 2 = <3>", "tag": "Math"},
                {"text": ""},
            ),
            reasons=(None, "too_many_digits", None, None),
        ),
        Example(
            samples=({"text": "The sea 12345678901234"},),
            reasons=(None,),
            knobs={"max_share": 1.0},
        ),
    )
