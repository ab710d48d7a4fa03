"""Reject texts with too many symbols."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.texts import body

_SYMBOL = r"[^\p{L}\p{M}\p{N}\s.,;:!?'\"()\-]"


class SymbolRatio(Filter):
    """Reject texts with too many characters that are no letter, digit, space or common mark.

    Shares are of characters that are not white space.
    """

    max_share: float = Field(0.15, ge=0, le=1)
    """Share of such characters that a text may have."""
    max_share_code: float = Field(0.5, ge=0, le=1)
    """For samples tagged Code or Math."""

    def _shares(self, samples: pl.DataFrame) -> pl.Series:
        text = body(samples)
        count = text.str.count_matches(_SYMBOL)
        return (count / text.str.count_matches(r"\S").clip(1)).rename("share")

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        dense = pl.col("tag").is_in(["Code", "Math"]).fill_null(False)
        limit = pl.when(dense).then(self.max_share_code).otherwise(self.max_share)
        return samples.with_columns(self._shares(samples)).select(
            reason=pl.when(pl.col("share") > limit).then(pl.lit("too_many_symbols"))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"share": self._shares(samples).round(4)})

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The sea is deep, and it is wide."},
                {"text": "The sea @#$%^&*<>|~"},
                {"text": "1 + 2 = 3, so 3 < 4", "tag": "Math"},
                {"text": ""},
            ),
            reasons=(None, "too_many_symbols", None, None),
        ),
        Example(
            samples=({"text": "The sea @#$%^&*<>|~"},),
            reasons=(None,),
            knobs={"max_share": 1.0},
        ),
    )
