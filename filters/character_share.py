"""Shares of a text's characters, judged by tag: what digits and symbols have in common."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Filter
from filters.texts import body

DENSE_TAGS = ("Code", "Math")


class CharacterShare(Filter):
    """Rejects where more than a share of the characters match; white space does not count."""

    PATTERN: ClassVar[str]
    REASON: ClassVar[str]

    max_share: float = Field(1.0, ge=0, le=1)
    max_share_code: float = Field(0.5, ge=0, le=1)
    """For samples tagged Code or Math."""

    def _shares(self, samples: pl.DataFrame) -> pl.Series:
        text = body(samples)
        count = text.str.count_matches(self.PATTERN)
        return (count / text.str.count_matches(r"\S").clip(1)).rename("share")

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        dense = pl.col("tag").is_in(DENSE_TAGS).fill_null(False)
        limit = pl.when(dense).then(self.max_share_code).otherwise(self.max_share)
        return samples.with_columns(self._shares(samples)).select(
            reason=pl.when(pl.col("share") > limit).then(pl.lit(self.REASON))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"share": self._shares(samples).round(4)})
