"""Reject texts by Gopher's repetition rules."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.measures import figure
from filters.texts import Rule, first_reason

_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


class GopherRepetition(Filter):
    """Reject texts by Gopher's repetition rules (Rae et al. 2021, table A1).

    A null knob switches its rule off. Code repeats itself by nature: judge it by `repetition`
    or leave it out with `except: [Code]`.
    """

    MEASURES: ClassVar[tuple[str, ...]] = ("repetition",)

    max_paragraphs: float | None = Field(0.3, ge=0, le=1)
    """Share of paragraphs that came before."""
    max_paragraph_characters: float | None = Field(0.2, ge=0, le=1)
    """Share of characters in such paragraphs."""
    max_lines: float | None = Field(0.3, ge=0, le=1)
    """Share of lines that came before."""
    max_line_characters: float | None = Field(0.2, ge=0, le=1)
    """Share of characters in such lines."""
    max_top: dict[int, float] = _TOP
    """Share of characters in the most frequent n-gram, for n from 2 to 4."""
    max_repeated: dict[int, float] = _REPEATED
    """Share of characters in n-grams that came before, for n from 5 to 10."""

    def _rules(self) -> list[Rule]:
        def at(name: str) -> pl.Expr:
            return figure("repetition", name)

        characters = at("characters").clip(1)
        paragraphs, lines = at("paragraphs").clip(1), at("pieces").clip(1)
        by_paragraph = at("repeated_paragraph_characters") / characters
        by_line = at("repeated_piece_characters") / characters
        return [
            (
                "repeated_paragraphs",
                at("repeated_paragraphs") / paragraphs,
                self.max_paragraphs,
                False,
            ),
            ("repeated_paragraph_characters", by_paragraph, self.max_paragraph_characters, False),
            ("repeated_lines", at("repeated_pieces") / lines, self.max_lines, False),
            ("repeated_line_characters", by_line, self.max_line_characters, False),
            *(
                (f"top_{n}_gram", at(f"top_{n}") / characters, self.max_top.get(n), False)
                for n in _TOP
            ),
            *(
                (
                    f"repeated_{n}_grams",
                    at(f"repeated_{n}") / characters,
                    self.max_repeated.get(n),
                    False,
                )
                for n in _REPEATED
            ),
        ]

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        return first_reason(samples, self._rules())

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select(value.round(4).alias(name) for name, value, _, _ in self._rules())

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "Each of these words is here once, and none of them comes back."},
                {"text": "One line.\n" * 3},
                {"text": "I do not know what you mean by that, so I ask you once more. " * 5},
                {"text": "Up.\n\nWe went up the hill.\n\nUp.\n\nUp."},
                {"text": ""},
            ),
            reasons=(None, "repeated_lines", "repeated_5_grams", "repeated_paragraphs", None),
            knobs={"max_top": {}},
        ),
        Example(samples=({"text": "so so so so so"},), reasons=("top_2_gram",)),
    )
