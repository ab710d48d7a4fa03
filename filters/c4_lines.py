"""Remove the lines that C4 removes."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Cleaner, Example
from filters.patterns import c4_lines


class C4Lines(Cleaner):
    """Remove the lines that C4 removes: without an end mark, too short, with a notice."""

    min_line_words: int = Field(3, ge=0)
    """Lines of fewer words go."""
    max_word_characters: int = Field(1000, ge=1)
    """Lines with a longer word go."""

    def clean(self, texts: pl.Series) -> pl.Series:
        return c4_lines(texts, self.min_line_words, self.max_word_characters)["text"]

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "Home | About\nThe river runs to the sea [1].\nRead our privacy policy."},
                {"text": "It is a long way down.\nThe end is near!"},
            ),
            cleaned=(
                "The river runs to the sea .",
                "It is a long way down.\nThe end is near!",
            ),
        ),
    )
