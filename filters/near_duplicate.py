"""Reject all but one of the samples whose texts are nearly the same."""

import functools
import tempfile
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from filters import Corpus, Example, Resolved
from filters.characters import folds
from filters.duplicates import Deduplicator, clusters, hex_ids, join_pairs, keepers
from filters.guards import guards
from filters.kernels import Hashes, Ints, utf8
from filters.shingles import band_keys, distinct, jaccard, shingle_texts
from filters.texts import body

PRESETS: dict[str, dict[str, float]] = {
    "default": {"bands": 32, "rows": 4, "min_similarity": 0.5},
    "fineweb": {"bands": 14, "rows": 8, "min_similarity": 0.0},
}
_CODE = """def area(width, height, border):
    # both sides have a border
    inner = (width + 2 * border) * (height + 2 * border)
    return inner if inner > 0 else None
"""
_PAIRS_AT_ONCE = 200_000


class NearDuplicate(Deduplicator):
    """Reject all but one of the samples whose texts are nearly the same.

    MinHash bands of word n-grams propose pairs (32 x 4 finds 99.8 % of pairs alike by 0.7 and
    87 % by 0.5); their Jaccard similarity is then counted exactly. Maths with other numbers or
    operators and code with other operators or constants are no duplicates, but lie in one
    cluster. Scripts without spaces are compared by characters, texts shorter than an n-gram as a
    whole.
    """

    preset: Literal["default", "fineweb"] = "default"
    """`fineweb`: 14 bands of 8 without a check of similarity, as FineWeb was made."""
    ngram: int = Field(5, ge=1, le=32)
    """Words."""
    bands: int = Field(32, ge=1, le=256)
    """Hash bands of a text; one that two texts share makes them a pair to compare."""
    rows: int = Field(4, ge=1, le=64)
    """MinHash values of a band: more of them propose fewer and closer pairs."""
    min_similarity: float = Field(0.5, ge=0, le=1)
    """Jaccard similarity of the word n-grams from which a pair is a duplicate."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") in PRESETS:
            return {**PRESETS[data["preset"]], **data}
        return data

    def sketch(self, samples: pl.DataFrame) -> pl.DataFrame:
        texts = body(samples)
        data, offsets = utf8(texts)
        is_code, is_maths = _tagged(samples, "Code"), _tagged(samples, "Math")
        salts = self.salts(samples).to_numpy() ^ guards(data, offsets, is_maths, is_code)
        factors = _factors(self.bands * self.rows)
        keys, words = band_keys(
            data, offsets, is_code, self.ngram, *folds(), self.bands, self.rows, factors
        )
        made = pl.DataFrame(
            {
                "id": samples["id"],
                "rank": self.rank(samples, texts),
                "salt": salts,
                **{f"band_{band}": keys[band] for band in range(self.bands)},
            }
        )
        return made if (words > 0).all() else made.filter(words > 0)

    def resolve(self, corpus: Corpus) -> Resolved:
        about = corpus.sketches("id", "rank", "reference", "salt")
        # Rows by id, so that nothing depends on the order of parts.
        by_id = about.select(order=pl.arg_sort_by("reference", "id"))["order"].to_numpy()
        salts = about["salt"].to_numpy()[by_id]
        pairs = np.zeros(0, np.uint64)
        for band in range(self.bands):
            keys = corpus.sketches(f"band_{band}").to_series().to_numpy()[by_id]
            pairs = np.union1d(pairs, _candidates(keys))
            if salts.any():
                pairs = np.union1d(pairs, _candidates(keys ^ salts))
        left = by_id[(pairs >> np.uint64(32)).astype(np.int64)].astype(np.int64)
        right = by_id[(pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)].astype(np.int64)
        similarity = self._measure(corpus, left, right)
        alike = similarity >= self.min_similarity
        left, right, similarity = left[alike], right[alike], similarity[alike]
        salts = about["salt"].to_numpy()
        same = salts[left] == salts[right]
        ids = about["id"].to_numpy()
        found = pl.DataFrame(
            {
                "id": hex_ids(pl.Series(ids[left])),
                "other": hex_ids(pl.Series(ids[right])),
                "similarity": similarity.round(4),
                "duplicates": same,
            }
        )
        rejected = self._rejected(about, left[same], right[same], similarity[same])
        return Resolved(
            rejected if self.mode == "drop" else rejected.clear(),
            {"pairs": found, "clusters": clusters(about, left, right, similarity)},
        )

    def _rejected(
        self, about: pl.DataFrame, left: Ints, right: Ints, similarity: npt.NDArray[np.float64]
    ) -> pl.DataFrame:
        members = np.unique(np.concatenate([left, right]))
        groups = join_pairs(
            len(members), np.searchsorted(members, left), np.searchsorted(members, right)
        )
        nearest = (
            pl.DataFrame(
                {
                    "row": np.concatenate([left, right]),
                    "other": np.concatenate([right, left]),
                    "similarity": np.concatenate([similarity, similarity]),
                }
            )
            .join(
                about.select(row=pl.row_index("row"), other_id="id").cast({"row": pl.Int64}),
                left_on="other",
                right_on="row",
            )
            .sort("row", "similarity", "other_id", descending=[False, True, False])
            .group_by("row", maintain_order=True)
            .first()
        )
        rows = about[members].with_columns(row=pl.Series(members), group=pl.Series(groups))
        judged = keepers(rows).join(nearest, on="row", how="left")
        fallen = judged.filter((pl.col("id") != pl.col("kept")) & ~pl.col("reference"))
        shown = fallen.select(
            kept=hex_ids(fallen["kept"]),
            nearest=hex_ids(fallen["other_id"]),
            similarity=pl.col("similarity").round(4),
            size="size",
        )
        return fallen.select(
            "id",
            reason=pl.when("by").then(pl.lit("like_reference")).otherwise(pl.lit("like_another")),
            figures=shown.to_struct().struct.json_encode(),
        )

    def _measure(self, corpus: Corpus, left: Ints, right: Ints) -> npt.NDArray[np.float64]:
        """The similarity of each pair, its sets of shingles kept in a file meanwhile."""
        if not len(left):
            return np.zeros(0, np.float64)
        members = np.unique(np.concatenate([left, right]))
        borders = np.zeros(len(members) + 1, np.int64)
        with tempfile.TemporaryFile(dir=corpus.scratch) as spool:
            done = 0
            for samples in corpus.samples(members):
                data, offsets = utf8(body(samples))
                is_code = _tagged(samples, "Code")
                shingles, of = shingle_texts(data, offsets, is_code, self.ngram, *folds())
                sets, ends = distinct(shingles, of)
                sets.tofile(spool)
                borders[done + 1 : done + len(ends)] = borders[done] + ends[1:]
                done += len(samples)
            spool.flush()
            shares = np.zeros(len(left), np.float64)
            for start in range(0, len(left), _PAIRS_AT_ONCE):
                part = slice(start, start + _PAIRS_AT_ONCE)
                # Mapped anew for each run of pairs, so that pages do not pile up.
                sets = np.memmap(spool, np.uint32, "r", shape=(int(borders[-1]),))
                shares[part] = jaccard(
                    sets,
                    borders[:-1],
                    borders[1:],
                    np.searchsorted(members, left[part]),
                    np.searchsorted(members, right[part]),
                )
        return shares

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"id": 2, "text": "Ice floats on water because it is less dense than water is."},
                {"id": 1, "text": "Ice floats on water, because it is less dense than water was!"},
                {"id": 3, "text": "Iron sinks in water because it is far denser than water is."},
                {"id": 4, "text": "Ice floats."},
                {"id": 5, "text": "ice floats"},
            ),
            reasons=("like_another", None, None, None, "like_another"),
        ),
        Example(
            samples=(
                {"id": 1, "tag": "Math", "text": "Ann has 3 pens and buys 4 more; how many now?"},
                {"id": 2, "tag": "Math", "text": "Ann has 3 pens and buys 5 more; how many now?"},
                {"id": 3, "tag": "Math", "text": "Ann has 3 pens and buys 5 more: how many now"},
                {"id": 4, "tag": "Code", "text": _CODE},
                {"id": 5, "tag": "Code", "text": _CODE.replace("+", "-")},
                {"id": 6, "tag": "Code", "text": _CODE.replace("both", "all")},
            ),
            reasons=(None, None, "like_another", None, None, "like_another"),
        ),
        Example(
            samples=(
                {"id": 1, "text": "水の上に氷が浮くのは、氷の密度が水より小さいからである。"},
                {"id": 2, "text": "水の上に氷が浮くのは、氷の密度が水より低いからである。"},
            ),
            reasons=(None, "like_another"),
            knobs={"keep": "longest"},
        ),
    )


def _tagged(samples: pl.DataFrame, tag: str) -> npt.NDArray[np.bool_]:
    return (samples["tag"] == tag).fill_null(False).to_numpy().astype(np.bool_)


@functools.cache
def _factors(values: int) -> Hashes:
    """Fixed odd numbers, one a round of the sketch."""
    drawn = np.random.default_rng(0).integers(0, 2**64, 2 * values, dtype=np.uint64)
    return drawn | np.uint64(1)


def _candidates(keys: Hashes) -> Hashes:
    """Pairs of rows with the same key as left << 32 | right: each row of a bucket with its
    first row and with the row before it, so that a bucket of n costs 2n and not n squared."""
    if not len(keys):
        return np.zeros(0, np.uint64)
    order = np.argsort(keys, kind="stable").astype(np.uint64)
    ordered = keys[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
    second = order[same + 1]
    heads = order[first[same + 1]] << np.uint64(32) | second
    return np.unique(np.concatenate([heads, order[same] << np.uint64(32) | second]))
