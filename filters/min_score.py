"""Reject samples whose score is too low."""

from typing import ClassVar, Literal

import polars as pl

from filters import Example, Filter, Scores


class MinScore(Filter):
    """Reject samples whose score, a numeric column or a judge's, is below `min`."""

    score: Scores
    """`{column: tokens}`, or `{from: a judge's source, column: a key of its replies}`."""
    min: float
    """Samples below it fall."""
    missing: Literal["keep", "reject"] = "reject"
    """What becomes of samples that no score was given."""

    def scores(self) -> Scores:
        return self.score

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        score = pl.col("score").fill_nan(None)
        return samples.select(
            reason=pl.when(score < self.min)
            .then(pl.lit("low_score"))
            .when(score.is_null() & (self.missing == "reject"))
            .then(pl.lit("no_score"))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select("score")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=({"score": 2.0}, {"score": 3.0}, {"score": None}),
            reasons=("low_score", None, "no_score"),
            knobs={"score": {"column": "tokens"}, "min": 3},
        ),
        Example(
            samples=({"score": None}, {"score": -1.0}),
            reasons=(None, "low_score"),
            knobs={"score": {"from": "judge", "column": "score"}, "min": 0, "missing": "keep"},
        ),
    )
