"""Reject pages by C4's rules."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.patterns import c4_lines
from filters.texts import body

_LINE = "The river rises in the hills. It runs to the sea.\n"


class C4(Filter):
    """Reject pages by C4's rules (Raffel et al. 2020, 2.2), read from the lines that it keeps.

    The cleaner `c4_lines` removes the other lines; without it they stay in the text.
    """

    min_sentences: int = Field(5, ge=0)
    """In lines that end in a mark, have enough words and no notice in them."""
    min_line_words: int = Field(3, ge=0)
    """Lines of fewer words are not read."""
    max_word_characters: int = Field(1000, ge=1)
    """Lines with a longer word are not read."""
    lorem_ipsum: bool = True
    """Reject pages with that phrase in a line that is kept."""
    curly_bracket: bool = True
    """Reject pages with a { in a line that is kept."""

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        found = c4_lines(body(samples), self.min_line_words, self.max_word_characters)
        return samples.with_columns(found.to_struct("c4"))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        at = pl.col("c4").struct
        none = pl.lit(None, pl.Int64)
        lorem = at["lorem_ipsum"] if self.lorem_ipsum else none
        curly = at["curly_bracket"] if self.curly_bracket else none
        return samples.select(
            reason=pl.when(lorem.is_not_null() & (curly.is_null() | (lorem <= curly)))
            .then(pl.lit("lorem_ipsum"))
            .when(curly.is_not_null())
            .then(pl.lit("curly_bracket"))
            .when(at["sentences"] < self.min_sentences)
            .then(pl.lit("too_few_sentences"))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        at = pl.col("c4").struct
        return samples.select(at["sentences"], at["lines"], at["kept_lines"])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": _LINE * 3},
                {"text": _LINE * 2 + "No mark at its end"},
                {"text": _LINE * 3 + "Lorem ipsum dolor sit amet."},
                {"text": _LINE * 3 + "It is {x} of them."},
                {"text": _LINE * 3 + "We use cookies; {x} of them."},
                {"text": ""},
            ),
            reasons=(
                None,
                "too_few_sentences",
                "lorem_ipsum",
                "curly_bracket",
                "curly_bracket",
                "too_few_sentences",
            ),
        ),
    )
