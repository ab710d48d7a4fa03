"""Groups of samples that say the same: who stays, and what is told of the others."""

from collections.abc import Callable, Iterator
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from data.schema import make_id
from filters import CorpusFilter, Scores
from filters.compiled import kernel
from filters.kernels import Ints
from filters.references import anchor, digests, expand, is_stage, read_rows

EXACT_TAGS = ("Code", "Math")


class Deduplicator(CorpusFilter):
    """The knobs of both filters for duplicates."""

    mode: Literal["drop", "audit"] = "drop"
    """`audit` keeps every sample; the clusters are stored either way, and each goes to one
    side of the validation split."""
    keep: Literal["first", "longest", "best"] = "first"
    """Of a group stays: the least id, the longest text, or the best `score`."""
    score: Scores | None = None
    """What is best; for `keep: best`."""
    scope: Literal["build", "source"] = "build"
    """Whether samples are compared across all sources or within each."""
    against: tuple[str, ...] = ()
    """Files, folders or earlier builds; samples that are like one of their texts fall."""
    columns: tuple[str, ...] = Field(("text",), min_length=1)
    """The columns of `against`'s files that hold text, joined by a line break."""

    @model_validator(mode="after")
    def _scored(self) -> Self:
        if (self.keep == "best") != (self.score is not None):
            raise ValueError("keep: best and score go together")
        if self.scope == "source" and self.against:
            raise ValueError("against is compared with all sources: take scope: build")
        return self

    def scores(self) -> Scores | None:
        return self.score

    def anchored(self, find: Callable[[str], str]) -> Self:
        return self.model_copy(update={"against": anchor(self.against, find)})

    def files(self) -> dict[str, str]:
        return digests(self.against)

    def references(self) -> Iterator[pl.DataFrame]:
        for path in self.against:
            for file in expand(path):
                salt = make_id([path, file.name])
                if is_stage(file):
                    yield from _numbered(read_rows(file, ("text", "messages", "tag")), salt)
                    continue
                for rows in _numbered(read_rows(file, self.columns), salt):
                    texts = [pl.col(column).cast(pl.String) for column in self.columns]
                    whole = pl.concat_str(texts, separator="\n", ignore_nulls=True)
                    # of an unknown tag: compared as prose, as maths and as code
                    for tag in (None, *EXACT_TAGS):
                        yield rows.select("id", text=whole, tag=pl.lit(tag, pl.String))

    def rank(self, samples: pl.DataFrame, texts: pl.Series) -> pl.Series:
        """What is least of the sample that stays, before ids are asked."""
        if self.keep == "longest":
            return -texts.str.len_bytes().cast(pl.Float64)
        if self.keep == "best" and "score" in samples.columns:
            return -samples["score"].cast(pl.Float64).fill_null(float("-inf"))
        return pl.repeat(0.0, len(samples), eager=True)

    def salts(self, samples: pl.DataFrame) -> pl.Series:
        """Samples of other salts never fall for each other."""
        if self.scope == "source" and "source" in samples.columns:
            names = samples["source"].unique().to_list()
            return samples["source"].replace_strict(
                {name: make_id(["salt", name]) for name in names}, return_dtype=pl.UInt64
            )
        return pl.repeat(0, len(samples), dtype=pl.UInt64, eager=True)


def _numbered(batches: Iterator[pl.DataFrame], salt: int) -> Iterator[pl.DataFrame]:
    row = 0
    for rows in batches:
        ids = [(salt + row + n) % 2**64 for n in range(len(rows))]
        row += len(rows)
        yield rows.with_columns(id=pl.Series(ids, dtype=pl.UInt64))


@kernel
def join_pairs(count: int, left: Ints, right: Ints) -> Ints:
    """The least row of each row's group, where pairs join rows to groups."""
    parents = np.empty(count, np.int64)
    for row in range(count):
        parents[row] = row
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        parents[max(a, b)] = min(a, b)
    for row in range(count):
        parents[row] = parents[parents[row]]
    return parents


def keepers(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` of groups of two and more (`id`, `rank`, `reference`, `group`), with `kept`: the
    id that stays of the group, and `size`. A reference stays before any sample."""
    order = rows.sort(~pl.col("reference"), "rank", "id")
    return order.with_columns(
        kept=pl.col("id").first().over("group"),
        by=pl.col("reference").first().over("group"),
        size=pl.len().over("group"),
    )


def clusters(
    rows: pl.DataFrame, left: Ints, right: Ints, similarity: npt.NDArray[np.float64]
) -> pl.DataFrame:
    """`id`, `cluster` (the least id of the samples in it) and `similarity` (to the most similar
    of it) of all samples that pairs of `rows` join. References join them, but are none."""
    members = np.unique(np.concatenate([left, right]))
    left, right = np.searchsorted(members, left), np.searchsorted(members, right)
    nearest = np.zeros(len(members), np.float64)
    np.maximum.at(nearest, left, similarity)
    np.maximum.at(nearest, right, similarity)
    found = rows[members].with_columns(
        group=pl.Series(join_pairs(len(members), left, right)),
        similarity=pl.Series(nearest).round(4),
    )
    own = found.filter(~pl.col("reference"))
    together = own.filter(pl.len().over("group") > 1)
    return together.select("id", "similarity", cluster=pl.col("id").min().over("group")).sort(
        "cluster", "id"
    )


def hex_ids(ids: pl.Series) -> pl.Series:
    """Ids as they are shown, 16 hex digits each."""
    digits = ids.to_numpy().astype(">u8").tobytes().hex().encode()
    shown = np.frombuffer(digits, "S16") if len(ids) else np.zeros(0, "S16")
    return pl.Series(ids.name, shown.astype("U16"), dtype=pl.String)


def exact_tags(samples: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows in which operators, numbers and case count."""
    return samples["tag"].is_in(EXACT_TAGS).fill_null(False).to_numpy().astype(np.bool_)
