"""Reject all but one of the samples with the same text."""

from typing import ClassVar

import numpy as np
import polars as pl

from filters import CorpusFilter, Example
from filters.kernels import normalized_hashes, utf8
from filters.texts import body

EXACT_TAGS = ("Code", "Math")


class ExactDuplicate(CorpusFilter):
    """Reject all but one of the samples with the same text; the least id is kept.

    Case, ASCII punctuation and white space do not count, but for code and maths, where only
    white space does not. Compared by a 128-bit hash.
    """

    def sketch(self, samples: pl.DataFrame) -> pl.DataFrame:
        fold = ~samples["tag"].is_in(EXACT_TAGS).fill_null(False).to_numpy()
        hashes = normalized_hashes(*utf8(body(samples)), np.ascontiguousarray(fold))
        return pl.DataFrame({"id": samples["id"], "a": hashes[:, 0], "b": hashes[:, 1]})

    def resolve(self, sketches: pl.DataFrame) -> pl.DataFrame:
        marked = sketches.with_columns(kept=pl.col("id").min().over("a", "b"))
        return marked.filter(pl.col("id") != pl.col("kept")).select(
            "id",
            reason=pl.lit("same_text"),
            figures=pl.struct(kept=pl.col("kept").cast(pl.String)).struct.json_encode(),
        )

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"id": 2, "text": "Ice floats,  because it is LIGHT."},
                {"id": 1, "text": "ice floats because it is light"},
                {"id": 3, "text": "Ice floats because it is bright."},
            ),
            reasons=("same_text", None, None),
        ),
        Example(
            samples=(
                {"id": 1, "text": "x = a + b", "tag": "Code"},
                {"id": 2, "text": "x = a - b", "tag": "Code"},
                {"id": 3, "text": "2 + 3 = 5", "tag": "Math"},
                {"id": 4, "text": "2 * 3 = 5", "tag": "Math"},
                {"id": 5, "text": "x = a\n  + b", "tag": "Code"},
            ),
            reasons=(None, None, None, None, "same_text"),
        ),
    )
