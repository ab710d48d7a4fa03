"""What a template makes of samples: segments, in order, of text or of one special token.

A frame of segments has the columns `row` (of the sample), `text` (null where the segment is a
special token), `special`, `trained` (whether the loss counts it) and `ends` (whether an
over-long conversation may be cut behind it).
"""

from dataclasses import dataclass

import polars as pl

SCHEMA = pl.Schema(
    {
        "row": pl.UInt32,
        "text": pl.String,
        "special": pl.String,
        "trained": pl.Boolean,
        "ends": pl.Boolean,
    }
)
REJECTED = pl.Schema({"row": pl.UInt32, "reason": pl.String, "detail": pl.String})


@dataclass(frozen=True)
class Rendered:
    """`rejected` names rows that could not be rendered; they have no segments.

    `conversations` are the rows that packing must not split.
    """

    segments: pl.DataFrame
    rejected: pl.DataFrame
    conversations: pl.Series


@dataclass(frozen=True)
class Style:
    """What a recipe and its tokenizer decide of a template.

    `bos` and `eos` are the tokenizer's tokens (None where it has none); `end` closes a
    document: a special token, a text, or nothing; `system` is the system text of conversations
    that have none of their own (None: the template's own).
    """

    eos: str | None
    bos: str | None = None
    end: str | None = None
    end_is_text: bool = False
    system: str | None = None
    masked: bool = False
    special: tuple[str, ...] = ()


def documents(rows: pl.Series, texts: pl.Series, style: Style) -> pl.DataFrame:
    """One text a row and the end of a document behind it."""
    text = pl.DataFrame({"row": rows, "text": texts})
    if style.end is None:
        return _whole(text)
    if style.end_is_text:
        return _whole(text.with_columns(pl.col("text") + style.end))
    end = pl.DataFrame({"row": rows}).with_columns(special=pl.lit(style.end))
    both = pl.concat([_whole(text), _whole(end)])
    return both.sort("row", maintain_order=True)


def _whole(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in SCHEMA.items()
        if name not in (*frame.columns, "trained", "ends")
    ]
    flags = {"trained": pl.lit(True), "ends": pl.lit(False)}
    return frame.with_columns(*missing, **flags).select(
        pl.col(name).cast(kind) for name, kind in SCHEMA.items()
    )


def merge(segments: pl.DataFrame, *, masked: bool = True) -> pl.DataFrame:
    """Neighbouring texts of a row as one; texts of unlike `trained` only where not `masked`."""

    def changes(column: str) -> pl.Expr:
        return pl.col(column).ne_missing(pl.col(column).shift(1))

    special = pl.col("special").is_not_null()
    new = special | special.shift(1, fill_value=False) | changes("row")
    if masked:
        new = new | changes("trained") | pl.col("ends").shift(1, fill_value=False)
    return (
        segments.with_columns(group=new.cum_sum())
        .group_by("group", maintain_order=True)
        .agg(
            pl.col("row").first(),
            pl.when(pl.col("special").is_null().first()).then(pl.col("text").str.join("")),
            pl.col("special").first(),
            pl.col("trained").first(),
            pl.col("ends").last(),
        )
        .drop("group")
        .filter(pl.col("special").is_not_null() | (pl.col("text") != ""))
        .cast(SCHEMA)
    )


def written(segments: pl.DataFrame) -> pl.Series:
    """The text of each row that has segments, special tokens spelled out."""
    both = pl.coalesce("special", "text")
    return segments.group_by("row", maintain_order=True).agg(both.str.join("").alias("text"))[
        "text"
    ]
