"""What filters read of a sample."""

from collections.abc import Sequence

import polars as pl


def body(samples: pl.DataFrame) -> pl.Series:
    """The text, or the contents of a conversation's turns joined by line breaks."""
    if "messages" not in samples.columns:
        return samples["text"].fill_null("")
    turns = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n")
    return samples.select(body=pl.coalesce("text", turns).fill_null(""))["body"]


Rule = tuple[str, pl.Expr, float | None, bool]


def first_reason(samples: pl.DataFrame, rules: Sequence[Rule]) -> pl.Series:
    """The first rule that a sample breaks: its reason, figure, threshold (null: no rule), and
    whether the figure must be at least that in place of at most."""
    broken = [
        pl.when(value < limit if least else value > limit).then(pl.lit(reason))
        for reason, value, limit, least in rules
        if limit is not None
    ]
    if not broken:
        return pl.repeat(None, len(samples), dtype=pl.String, eager=True)
    return samples.select(reason=pl.coalesce(broken))["reason"]
