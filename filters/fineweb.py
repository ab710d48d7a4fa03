"""Reject texts by FineWeb's rules."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.measures import figure
from filters.texts import Rule, first_reason


class Fineweb(Filter):
    """Reject lists and pages of short or repeated lines, as FineWeb does (Penedo et al. 2024).

    A null knob switches its rule off.
    """

    MEASURES: ClassVar[tuple[str, ...]] = ("words",)

    min_ended_lines: float | None = Field(0.12, ge=0, le=1)
    """Share of lines that end in a full stop, a question or an exclamation mark."""
    max_short_lines: float | None = Field(0.67, ge=0, le=1)
    """Share of lines of up to 30 characters."""
    max_repeated_characters: float | None = Field(0.01, ge=0, le=1)
    """Share of characters in lines that came before."""
    max_line_breaks: float | None = Field(0.3, ge=0)
    """Line breaks a token."""

    def _rules(self) -> list[Rule]:
        def at(name: str) -> pl.Expr:
            return figure("words", name)

        lines = at("full_lines").clip(1)
        rest = (at("characters") - at("line_breaks")).clip(1)
        repeated = at("repeated_line_characters") / rest
        breaks = at("line_breaks") / at("tokens").clip(1)
        return [
            ("no_lines", at("full_lines"), 1, True),
            ("unended_lines", at("ended_lines") / lines, self.min_ended_lines, True),
            ("short_lines", at("short_lines") / lines, self.max_short_lines, False),
            ("repeated_lines", repeated, self.max_repeated_characters, False),
            ("list", breaks, self.max_line_breaks, False),
        ]

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        return first_reason(samples, self._rules())

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select(value.round(4).alias(name) for name, value, _, _ in self._rules())

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The river rises in the hills and runs to the sea."},
                {"text": "The river rises in the hills and runs to the sea"},
                {"text": "Rivers.\nHills.\nSeas."},
                {"text": "The river rises in the hills and runs down.\n" * 2},
                {"text": " \n\t\n"},
            ),
            reasons=(None, "unended_lines", "short_lines", "repeated_lines", "no_lines"),
        ),
        Example(
            samples=({"text": "The river.\nThe hills.\nThe sea.\nIt ends."},),
            reasons=("list",),
            knobs={"max_short_lines": None, "max_line_breaks": 0.2},
        ),
    )
