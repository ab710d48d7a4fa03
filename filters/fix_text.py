"""Mend text that was decoded wrongly."""

from typing import ClassVar

import ftfy
import polars as pl

from filters import Cleaner, Example

_SUSPECT = (
    "[\u0080-\u009f\u00c2-\u00c5\u00cb-\u00ce\u00d0-\u00d9\u00e0-\u00ef\u00f0\ufffd]"
    "|â€|&[a-z#0-9]+;"
)
"""What wrongly decoded text has; the others are not looked at one by one."""


class FixText(Cleaner):
    """Mend text that was decoded wrongly ("cafÃ©") and HTML entities, by ftfy.

    Quotes and ligatures stay as they are.
    """

    def clean(self, texts: pl.Series) -> pl.Series:
        config = ftfy.TextFixerConfig(
            uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False
        )
        rows = pl.DataFrame({"text": texts}).with_row_index("row")
        suspect = rows.filter(pl.col("text").str.contains(_SUSPECT))
        mended = [ftfy.fix_text(text, config) for text in suspect["text"]]
        return texts.clone().scatter(suspect["row"], pl.Series(mended, dtype=pl.String))

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "cafÃ© and donâ€™t"},
                {"text": "a &lt; b"},
                {"text": "“naïve” café, ﬁne"},
                {"text": "plain"},
            ),
            cleaned=("café and don’t", "a < b", "“naïve” café, ﬁne", "plain"),
        ),
    )
