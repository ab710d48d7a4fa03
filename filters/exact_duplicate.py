"""Reject all but one of the samples with the same text."""

from typing import ClassVar

import polars as pl

from filters import Corpus, Example, Resolved
from filters.duplicates import Deduplicator, exact_tags, hex_ids, keepers
from filters.kernels import normalized_hashes, utf8
from filters.texts import body


class ExactDuplicate(Deduplicator):
    """Reject all but one of the samples with the same text.

    Case, ASCII punctuation and white space do not count, but for code and maths, where only
    white space does not. Compared by a 128-bit hash.
    """

    def sketch(self, samples: pl.DataFrame) -> pl.DataFrame:
        texts = body(samples)
        data, offsets = utf8(texts)
        hashes = normalized_hashes(data, offsets, ~exact_tags(samples))
        return pl.DataFrame(
            {
                "id": samples["id"],
                "rank": self.rank(samples, texts),
                "salt": self.salts(samples),
                "a": hashes[:, 0],
                "b": hashes[:, 1],
            }
        )

    def resolve(self, corpus: Corpus) -> Resolved:
        texts = corpus.sketches("id", "rank", "salt", "a", "b", "reference")
        same = texts.filter(pl.len().over("a", "b") > 1)
        groups = same.filter(pl.len().over("a", "b", "salt") > 1)
        judged = keepers(groups.with_columns(group=pl.struct("a", "b", "salt").rank("dense")))
        fallen = judged.filter((pl.col("id") != pl.col("kept")) & ~pl.col("reference"))
        shown = fallen.select(kept=hex_ids(fallen["kept"]), size="size")
        rejected = fallen.select(
            "id",
            reason=pl.when("by").then(pl.lit("in_reference")).otherwise(pl.lit("same_text")),
            figures=shown.to_struct().struct.json_encode(),
        )
        own = same.filter(~pl.col("reference"))
        together = own.filter(pl.len().over("a", "b") > 1).select(
            "id", cluster=pl.col("id").min().over("a", "b"), similarity=pl.lit(1.0)
        )
        return Resolved(
            rejected if self.mode == "drop" else rejected.clear(),
            {"clusters": together.sort("cluster", "id")},
        )

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"id": 2, "text": "Ice floats,  because it is LIGHT."},
                {"id": 1, "text": "ice floats because it is light"},
                {"id": 3, "text": "Ice floats because it is bright."},
                {"id": 4, "text": "+++"},
                {"id": 5, "text": "---"},
            ),
            reasons=("same_text", None, None, None, None),
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
        Example(
            samples=(
                {"id": 1, "text": "The sea is deep.", "source": "a"},
                {"id": 2, "text": "The sea is deep!", "source": "b"},
                {"id": 3, "text": "The sea is deep...", "source": "a"},
            ),
            reasons=("same_text", None, None),
            knobs={"scope": "source", "keep": "longest"},
        ),
    )
