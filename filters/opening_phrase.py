"""Reject texts that open as too many others do."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Corpus, CorpusFilter, Example, Resolved
from filters.texts import body


class OpeningPhrase(CorpusFilter):
    """Reject texts that open with words that too large a share of the build opens with.

    Of each phrase the samples with the least ids stay, up to that share. Every phrase's share is
    kept beside the verdicts.
    """

    words: int = Field(4, ge=1, le=32)
    """Words of a text's beginning that are compared."""
    max_share: float = Field(0.01, gt=0, le=1)
    """Share of the samples that may open alike."""
    min_samples: int = Field(20, ge=1)
    """A phrase of fewer samples never counts as too frequent."""

    def sketch(self, samples: pl.DataFrame) -> pl.DataFrame:
        first = body(samples).str.head(400).str.to_lowercase()
        words = first.str.extract_all(r"[\p{L}\p{N}]+").list.head(self.words)
        return pl.DataFrame({"id": samples["id"], "phrase": words.list.join(" ")})

    def resolve(self, corpus: Corpus) -> Resolved:
        openings = corpus.sketches("id", "phrase")
        limit = max(self.min_samples, int(self.max_share * len(openings)))
        counted = openings.with_columns(
            samples=pl.len().over("phrase"), rank=pl.col("id").rank("ordinal").over("phrase")
        )
        fallen = counted.filter((pl.col("rank") > limit) & (pl.col("phrase") != ""))
        shares = (
            openings.group_by("phrase")
            .agg(samples=pl.len(), share=(pl.len() / max(1, len(openings))).round(6))
            .sort("samples", "phrase", descending=[True, False])
            .head(1000)
        )
        shown = fallen.select("phrase", "samples")
        return Resolved(
            fallen.select(
                "id",
                reason=pl.lit("frequent_opening"),
                figures=shown.to_struct().struct.json_encode(),
            ),
            {"openings": shares},
        )

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"id": 3, "text": "Once upon a time, a fox ran."},
                {"id": 1, "text": "Once upon a time there was a king."},
                {"id": 2, "text": "The tide turns twice a day."},
                {"id": 4, "text": ""},
                {"id": 5, "text": ""},
            ),
            reasons=("frequent_opening", None, None, None, None),
            knobs={"min_samples": 1},
        ),
    )
