"""Reject texts with words of a list."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from data.errors import SourceError
from filters import Example, Filter
from filters.characters import folds
from filters.kernels import utf8
from filters.ngrams import split_all
from filters.references import digests
from filters.texts import body


class BannedWords(Filter):
    """Reject texts with words of a list, given here or in a file with a word a line.

    Whole words, whatever their case.
    """

    words: tuple[str, ...] = ()
    """The list, a word each."""
    file: str | None = None
    """A file with a word a line, besides `words`."""
    max_count: int = Field(0, ge=0)
    """A text may hold that many."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.words and self.file is None:
            raise ValueError("name words or a file of them")
        return self

    def anchored(self, find: Callable[[str], str]) -> Self:
        return self.model_copy(update={"file": find(self.file)}) if self.file else self

    def files(self) -> dict[str, str]:
        return digests([self.file]) if self.file else {}

    def check(self) -> None:
        self._banned()

    def _banned(self) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
        words = list(self.words)
        if self.file is not None:
            try:
                lines = Path(self.file).read_text(encoding="utf-8").splitlines()
            except (OSError, ValueError) as error:
                raise SourceError(f"cannot be read ({error})", where=self.file) from error
            words += [line.strip() for line in lines if line.strip()]
        hashes, borders = split_all(*utf8(pl.Series(words, dtype=pl.String)), folds()[0])
        several = np.flatnonzero(np.diff(borders) != 1)
        if len(several):
            raise SourceError(
                f"{words[several[0]]!r} is not one word",
                where=self.file or "banned_words",
                fix="list single words",
            )
        return np.unique(hashes)

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        words, borders = split_all(*utf8(body(samples)), folds()[0])
        hits = np.concatenate([[0], np.cumsum(np.isin(words, self._banned()))])
        return samples.with_columns(pl.Series("banned", hits[borders[1:]] - hits[borders[:-1]]))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        found = pl.col("banned") > self.max_count
        return samples.select(reason=pl.when(found).then(pl.lit("banned_word")))["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select("banned")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=({"text": "A DARN shame."}, {"text": "Darning socks."}, {"text": ""}),
            reasons=("banned_word", None, None),
            knobs={"words": ["darn"]},
        ),
        Example(
            samples=({"text": "Darn it."}, {"text": "Darn, darn it."}),
            reasons=(None, "banned_word"),
            knobs={"words": ["darn"], "max_count": 1},
        ),
    )
