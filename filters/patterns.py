"""Patterns over texts that polars' regular expressions look for, and what C4 keeps of lines."""

import polars as pl

SPECIAL_TOKENS = (
    r"<\|[a-z0-9_ ]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<unk>|<pad>|\[(?:CLS|SEP|MASK|PAD|UNK)\]"
    r"|<(?:start|end)_of_turn>|<\|begin▁of▁sentence\|>"
)
"""The special tokens of GPT, Llama, Mistral, ChatML, Zephyr, Gemma, T5 and BERT vocabularies."""

_NOTICES = "terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
_LINE_BREAKS = r"\r\n|[\r\v\f\x1c-\x1e\x{85}\x{2028}\x{2029}]"
"""Where str.splitlines cuts, but "\\n"."""
_ABBREVIATED = (
    r"\b(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Co|Corp|Inc|Ltd|vs|v\.s|a\.m|p\.m|e\.g|i\.e|Gen|Gov"
    r"|Rep|Rev|Sen|Mt|Ph\.D|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.\s"
)
_CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"


def c4_lines(texts: pl.Series, min_words: int, max_characters: int) -> pl.DataFrame:
    """Of each text: `text` of the lines that C4 keeps, `lines`, `kept_lines`, `sentences` in
    them, and the first line, from 0 on, of those that are kept up to there, that has
    `lorem_ipsum` or a `curly_bracket`; null where none has."""
    lines = (
        pl.DataFrame({"line": texts.str.replace_all(_LINE_BREAKS, "\n").str.split("\n")})
        .with_row_index("row")
        .explode("line")
        .with_columns(pl.col("line").fill_null("").str.strip_chars())
        .with_columns(number=pl.int_range(pl.len()).over("row"))
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
        sentences=_sentences(pl.col("bare")),
    )
    sound = pl.col("sound")
    kept = sound & ~pl.col("lorem") & ~pl.col("script") & ~pl.col("notice")
    curly = sound & ~pl.col("script") & pl.col("curly")
    return (
        judged.group_by("row", maintain_order=True)
        .agg(
            text=pl.col("bare").filter(kept).str.join("\n"),
            lines=pl.len(),
            kept_lines=kept.sum(),
            sentences=pl.col("sentences").filter(kept).sum(),
            lorem_ipsum=pl.col("number").filter(sound & pl.col("lorem")).min(),
            curly_bracket=pl.col("number").filter(curly).min(),
        )
        .drop("row")
    )


def _sentences(line: pl.Expr) -> pl.Expr:
    """Marks that end a sentence before more of the line: spaCy's rule, by which an
    ellipsis and a mark inside a word, behind an abbreviation or behind one letter end none."""
    unended = line.str.replace_all(r"\.\.+", "").str.replace_all(_ABBREVIATED, "x ")
    return unended.str.count_matches(r"[.?!]+[\"')\]”’]*\s+\S").cast(pl.Int64) + 1
