"""Bring white space and Unicode into one form."""

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field

from filters import Cleaner, Example


class NormalizeText(Cleaner):
    """Bring white space and Unicode into one form; indentation stays.

    Line ends become "\\n", odd spaces plain ones, trailing spaces go, and so do controls, byte
    order marks and white space around the text.
    """

    unicode: Literal["NFC", "NFKC"] | None = "NFC"
    """NFKC also makes ligatures, full-width forms and the like plain letters."""
    max_blank_lines: int = Field(1, ge=0)
    """Blank lines in a row that stay."""

    def clean(self, texts: pl.Series) -> pl.Series:
        if self.unicode:
            texts = texts.str.normalize(self.unicode)
        breaks = self.max_blank_lines + 1
        return (
            texts.str.replace_all("\r\n?|[\u2028\u2029\u0085]", "\n")
            .str.replace_all(r"[\x00-\x08\x0B-\x1F\x7F\u200B\u2060\uFEFF]", "")
            .str.replace_all(r"[\u00A0\u2000-\u200A\u202F\u205F\u3000]", " ")
            .str.replace_all(r"[ \t]+(\n|\z)", "$1")
            .str.replace_all(rf"\n{{{breaks + 1},}}", "\n" * breaks)
            .str.replace(r"\A\n+", "")
            .str.strip_chars_end()
        )

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "One\r\ntwo  \r\n\n\n\nthree\u00a0four\ufeff\n"},
                {"text": "def f():\n    return 1"},
                {"text": "cafe\u0301"},
            ),
            cleaned=("One\ntwo\n\nthree four", "def f():\n    return 1", "café"),
        ),
        Example(
            samples=({"text": "ﬁne\n\nday"},),
            cleaned=("fine\nday",),
            knobs={"unicode": "NFKC", "max_blank_lines": 0},
        ),
    )
