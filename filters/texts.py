"""What filters read of a sample."""

import polars as pl


def body(samples: pl.DataFrame) -> pl.Series:
    """The text, or the contents of a conversation's turns joined by line breaks."""
    if "messages" not in samples.columns:
        return samples["text"].fill_null("")
    turns = pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n")
    return samples.select(body=pl.coalesce("text", turns).fill_null(""))["body"]
