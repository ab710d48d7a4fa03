"""Patterns over texts that polars' regular expressions look for, and what C4 keeps of lines."""

import polars as pl

SPECIAL_TOKENS = (
    r"<\|[a-z0-9_ ]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<unk>|<pad>|\[(?:CLS|SEP|MASK|PAD|UNK)\]"
    r"|<(?:start|end)_of_turn>|<\|begin▁of▁sentence\|>"
)
"""The special tokens of GPT, Llama, Mistral, ChatML, Zephyr, Gemma, T5 and BERT vocabularies."""

_NOTICES = "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
_CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"


def c4_lines(texts: pl.Series, min_words: int, max_characters: int) -> pl.DataFrame:
    """Of each text: `text` of the lines that C4 keeps, `lines`, `kept_lines`, `sentences` in
    them, and whether a line that is kept up to there has `lorem_ipsum` or a `curly_bracket`."""
    lines = (
        pl.DataFrame({"line": texts.str.split("\n")})
        .with_row_index("row")
        .explode("line")
        .with_columns(pl.col("line").fill_null("").str.strip_chars())
    )
    bare = pl.col("line").str.replace_all(_CITATION, "")
    small = pl.col("bare").str.to_lowercase()
    ends = pl.col("bare").str.contains(r"[.?!\"']$") & ~pl.col("bare").str.ends_with("...")
    pieces = pl.col("line").str.extract_all(r"\S+")
    long_word = pieces.list.eval(pl.element().str.len_chars()).list.max() > max_characters
    words = pieces.list.len()
    judged = lines.with_columns(bare=bare).with_columns(
        sound=ends & (words >= min_words) & ~long_word.fill_null(False),
        lorem=small.str.contains("lorem ipsum", literal=True),
        script=small.str.contains("javascript", literal=True),
        curly=pl.col("bare").str.contains("{", literal=True),
        notice=small.str.contains(_NOTICES),
        sentences=pl.col("bare").str.count_matches(r"[.?!]+[\"')\]”’]*(?:\s|$)").clip(1),
    )
    sound = pl.col("sound")
    kept = sound & ~pl.col("lorem") & ~pl.col("script") & ~pl.col("notice")
    return (
        judged.group_by("row", maintain_order=True)
        .agg(
            text=pl.col("bare").filter(kept).str.join("\n"),
            lines=pl.len(),
            kept_lines=kept.sum(),
            sentences=pl.col("sentences").filter(kept).sum(),
            lorem_ipsum=(sound & pl.col("lorem")).any().cast(pl.Int32),
            curly_bracket=(sound & ~pl.col("lorem") & ~pl.col("script") & pl.col("curly"))
            .any()
            .cast(pl.Int32),
        )
        .drop("row")
    )
