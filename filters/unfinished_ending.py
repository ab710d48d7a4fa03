"""Reject texts that break off."""

from typing import ClassVar

import polars as pl

from filters import Example, Filter
from filters.texts import body

_END = (
    r"[.!?…。！？؟।:;][\"')\]}”’»*_`~]*$|```$|\|$|^\s*(?:[-*+•]|\d+[.)])\s+\S[^\n]*$|[\d)\]}%°$]$"
)
_CODE_END = r"[(\[{,\\=+*/<&|-]$|\b(?:def|class|if|elif|for|while|return|import|in|and|or|not)$"


class UnfinishedEnding(Filter):
    """Reject texts that break off: no end mark, list item, number or closing bracket at the end.

    Of code: a last line that needs another one, or a fence that is not closed.
    """

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        text = body(samples).str.strip_chars_end()
        last = text.str.extract(r"([^\n]*)$", 1)
        fences = text.str.count_matches(r"(?m)^\s*```") % 2 == 1
        code = (samples["tag"] == "Code").fill_null(False)
        prose_end = ~(last.str.contains(_END) | text.str.contains(_END))
        code_end = last.str.contains(_CODE_END)
        return pl.select(
            reason=pl.when(
                (text == "") | fences | pl.when(code).then(code_end).otherwise(prose_end)
            ).then(pl.lit("breaks_off"))
        ).to_series()

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"ending": body(samples).str.strip_chars_end().str.tail(40)})

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The sea is deep."},
                {"text": "The sea is deep and"},
                {"text": 'She said: "Go!"\n'},
                {"text": "What to bring:\n- a rope\n- a lamp"},
                {"text": "So the answer is 42"},
                {"text": "海很深。"},
                {"text": ""},
            ),
            reasons=(None, "breaks_off", None, None, None, None, "breaks_off"),
        ),
        Example(
            samples=(
                {"text": "def f(x):\n    return x", "tag": "Code"},
                {"text": "def f(x):\n    return x +", "tag": "Code"},
                {"text": "Here it is:\n```\nx = 1", "tag": "Code"},
            ),
            reasons=(None, "breaks_off", "breaks_off"),
        ),
    )
