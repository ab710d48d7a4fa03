"""Reject samples that are too short or too long."""

from typing import ClassVar

import polars as pl
from pydantic import Field, model_validator

from filters import Example, Filter


class Length(Filter):
    """Reject samples that are too short or too long, in GPT-2 tokens."""

    min_tokens: int = Field(0, ge=0)
    """Shorter samples fall."""
    max_tokens: int | None = Field(None, ge=1)
    """Longer samples fall."""

    @model_validator(mode="after")
    def _ordered(self) -> "Length":
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError("max_tokens is below min_tokens")
        return self

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        tokens = pl.col("tokens")
        too_long = tokens > self.max_tokens if self.max_tokens else pl.lit(False)
        return samples.select(
            reason=pl.when(tokens < self.min_tokens)
            .then(pl.lit("too_short"))
            .when(too_long)
            .then(pl.lit("too_long"))
        )["reason"]

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=({"tokens": 149}, {"tokens": 150}, {"tokens": 0}),
            reasons=("too_short", None, "too_short"),
            knobs={"min_tokens": 150},
        ),
        Example(
            samples=({"tokens": 11}, {"tokens": 10}),
            reasons=("too_long", None),
            knobs={"max_tokens": 10},
        ),
    )
