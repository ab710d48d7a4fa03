"""Reject generations that did not end by themselves."""

from typing import ClassVar

import polars as pl

from filters import Example, Filter


class FinishReason(Filter):
    """Reject generations that did not end by themselves (cut at max_tokens, aborted)."""

    keep: tuple[str, ...] = ("stop",)
    """The server's finish reasons that stay."""

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        reason = pl.col("finish_reason")
        fine = reason.is_null() | reason.is_in(list(self.keep))
        return samples.select(reason=pl.when(~fine).then(pl.format("finish_{}", reason)))["reason"]

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=({"finish_reason": "length"}, {"finish_reason": "stop"}),
            reasons=("finish_length", None),
        ),
        Example(
            samples=({"finish_reason": None}, {"finish_reason": "length"}),
            reasons=(None, None),
            knobs={"keep": ["stop", "length"]},
        ),
    )
