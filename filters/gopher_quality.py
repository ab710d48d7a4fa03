"""Reject texts by Gopher's quality rules."""

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.measures import figure
from filters.texts import first_reason

_PLAIN = "The people of the town have to cross the river with care, and that takes time. "


class GopherQuality(Filter):
    """Reject texts by Gopher's quality rules (Rae et al. 2021, A.1.1).

    A null knob switches its rule off.
    """

    MEASURES: ClassVar[tuple[str, ...]] = ("words",)

    min_words: int | None = Field(50, ge=0)
    """Words that a text needs."""
    max_words: int | None = Field(100_000, ge=1)
    """Words that a text may have."""
    min_mean_word_length: float | None = Field(3, ge=0)
    """Characters a word on average, at least."""
    max_mean_word_length: float | None = Field(10, ge=0)
    """Characters a word on average, at most."""
    max_symbol_ratio: float | None = Field(0.1, ge=0)
    """Of "#" and of ellipses to tokens, each."""
    max_bullet_lines: float | None = Field(0.9, ge=0, le=1)
    """Share of lines that begin with a bullet."""
    max_ellipsis_lines: float | None = Field(0.3, ge=0, le=1)
    """Share of lines that end in an ellipsis."""
    min_alpha_words: float | None = Field(0.8, ge=0, le=1)
    """Share of words with a letter."""
    alpha_of: Literal["words", "tokens"] = "words"
    """What that share is of: words, as the paper says, or tokens, marks among them, as in
    datatrove, where most clean prose fails."""
    min_stop_words: int | None = Field(2, ge=0, le=8)
    """Different ones of: the, be, to, of, and, that, have, with."""

    def _rules(self) -> list[tuple[str, pl.Expr, float | None, bool]]:
        """Reason, figure, threshold, whether the figure must be at least that."""
        at = {name: figure("words", name) for name in _READ}
        tokens, words = at["tokens"].clip(1), at["words"].clip(1)
        lines = at["lines"].clip(1)
        mean = at["word_characters"] / words
        alpha = at["alpha_tokens"] / (words if self.alpha_of == "words" else tokens)
        return [
            ("too_few_words", at["words"], self.min_words, True),
            ("too_many_words", at["words"], self.max_words, False),
            ("short_words", mean, self.min_mean_word_length, True),
            ("long_words", mean, self.max_mean_word_length, False),
            ("hashes", at["hashes"] / tokens, self.max_symbol_ratio, False),
            ("ellipses", at["ellipses"] / tokens, self.max_symbol_ratio, False),
            ("bullet_lines", at["bullet_lines"] / lines, self.max_bullet_lines, False),
            ("ellipsis_lines", at["ellipsis_lines"] / lines, self.max_ellipsis_lines, False),
            ("few_letters", alpha, self.min_alpha_words, True),
            ("few_stop_words", at["stop_words"], self.min_stop_words, True),
        ]

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        return first_reason(samples, self._rules())

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select(value.round(4).alias(name) for name, value, _, _ in self._rules())

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": _PLAIN * 4},
                {"text": _PLAIN},
                {"text": "- the sea is deep and wide\n" * 20},
                {"text": "# # " * 10 + _PLAIN * 4},
                {"text": "Rain falls. Wind blows. Birds sing. " * 20},
                {"text": ""},
                {"text": "... ... !!!"},
            ),
            reasons=(
                None,
                "too_few_words",
                "bullet_lines",
                "hashes",
                "few_stop_words",
                "too_few_words",
                "too_few_words",
            ),
        ),
        Example(
            samples=({"text": "To be, to have, and to be with: that! " * 9},),
            reasons=("few_letters",),
            knobs={"alpha_of": "tokens", "min_mean_word_length": None},
        ),
    )


_READ = (
    "tokens",
    "words",
    "word_characters",
    "alpha_tokens",
    "stop_words",
    "hashes",
    "ellipses",
    "lines",
    "bullet_lines",
    "ellipsis_lines",
)
