"""How alike the samples of a source are: shared openings, distinct n-grams, self-similarity."""

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import polars as pl

from filters.kernels import Bytes, Hashes, Ints, _mix, _words, utf8
from filters.texts import body
from flows.plan import AnySource, Plan

OPENING_WORDS = 5
MIN_SAMPLES = 50
"""Fewer samples of a source give no warning."""
LIMITS = {"Code": 0.5, "Math": 0.5}
LIMIT = 0.2
"""Share of one opening above which a source counts as collapsed. Imports and the wording of sums
are form, so code and maths may share them more often."""
LOOKED_AT = 5000
COMPARED = 300
"""Texts of which all pairs are compared."""
GRAM = 3
PERMUTATIONS = 128


def opening(texts: pl.Series) -> pl.Series:
    """The first five words in lower case, marks between them left out."""
    words = texts.str.slice(0, 400).str.to_lowercase().str.extract_all(r"[\w'’]+")
    return words.list.head(OPENING_WORDS).list.join(" ").alias("opening")


def commonest(texts: pl.Series) -> tuple[str, float]:
    """The commonest opening and its share; an empty one and 0 where there is no text."""
    counts = (
        opening(texts).value_counts(sort=True).sort("count", "opening", descending=[True, False])
    )
    return (counts["opening"][0], counts["count"][0] / len(texts)) if len(texts) else ("", 0.0)


def measure(texts: pl.Series) -> dict[str, Any]:
    """Of one kind's samples, in an order that says nothing of their content: `opening` and
    `opening_share`, `distinct_1` to `distinct_3` (different n-grams / n-grams), and
    `self_similarity` (mean Jaccard of word 3-grams over all pairs of the first COMPARED texts,
    by MinHash)."""
    phrase, share = commonest(texts)
    data, offsets = utf8(texts.str.to_lowercase())
    figures: dict[str, Any] = {"samples": len(texts), "opening": phrase, "opening_share": share}
    for size in (1, 2, 3):
        grams, _ = _ngrams(data, offsets, size)
        figures[f"distinct_{size}"] = len(np.unique(grams)) / max(1, len(grams))
    signatures = _signatures(*_ngrams(data, offsets[: COMPARED + 1], GRAM))
    alike = [
        (signatures[n + 1 :] == signatures[n]).mean(axis=1) for n in range(len(signatures) - 1)
    ]
    figures["self_similarity"] = float(np.concatenate(alike).mean()) if alike else 0.0
    return figures


@numba.njit(cache=True, nogil=True)
def _ngrams(data: Bytes, offsets: Ints, size: int) -> tuple[Hashes, Ints]:
    """The hashes of all texts' word n-grams and len(texts) + 1 offsets into them. A text of
    fewer words has none."""
    ends = np.zeros(len(offsets), np.int64)
    found = np.empty(max(1, offsets[-1] - offsets[0]), np.uint64)
    total = 0
    for row in range(len(offsets) - 1):
        words, _ = _words(data, offsets[row], offsets[row + 1])
        for first in range(len(words) - size + 1):
            state = np.uint64(0)
            for word in range(size):
                state = _mix(state, words[first + word])
            found[total] = state
            total += 1
        ends[row + 1] = total
    return found[:total], ends


@numba.njit(cache=True, nogil=True)
def _signatures(grams: Hashes, offsets: Ints) -> Hashes:
    """MinHash: the least of each text's n-grams under PERMUTATIONS hashes; texts of no n-gram
    are left out."""
    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    least = np.full((len(filled), PERMUTATIONS), np.uint64(0xFFFFFFFFFFFFFFFF))
    for at in range(len(filled)):
        row = filled[at]
        for gram in grams[offsets[row] : offsets[row + 1]]:
            for k in range(PERMUTATIONS):
                value = _mix(np.uint64(k + 1) * np.uint64(0x9E3779B97F4A7C15), gram)
                least[at, k] = min(least[at, k], value)
    return least


def texts_of(source: AnySource, most: int = LOOKED_AT) -> pl.Series:
    """Texts that parsing took, `most` at most: rows stand in the order of a hash, so the first
    ones are a fair sample."""
    found = [pl.Series("body", [], dtype=pl.String)]
    for part in range(source.samples.count()):
        samples = pl.DataFrame(source.samples.read(part, columns=["id", "text", "messages"]))
        refused = pl.DataFrame(source.samples.read(part, "verdicts").select(["id"]))
        found.append(body(samples.join(refused, on="id", how="anti", maintain_order="left")))
        if sum(map(len, found)) >= most:
            break
    return pl.concat(found).head(most)


def openings(plan: Plan) -> list[dict[str, Any]]:
    """The commonest opening of each source's samples, and whether it is over the limit."""
    rows = []
    for source in plan.sources:
        texts = texts_of(source)
        phrase, share = commonest(texts)
        collapsed = _collapsed(source, len(texts), share)
        facts = {"samples": len(texts), "opening": phrase, "share": round(share, 4)}
        rows.append({"source": source.name, **facts, "collapsed": collapsed})
    return rows


def _collapsed(source: AnySource, samples: int, share: float) -> bool:
    return samples >= MIN_SAMPLES and share > LIMITS.get(source.tag or "", LIMIT)


def warn_of_collapse(source: AnySource) -> Iterator[str]:
    """One line where a source's samples begin too much alike."""
    texts = texts_of(source)
    phrase, share = commonest(texts)
    if _collapsed(source, len(texts), share):
        yield (
            f"warning: {source.name}: {share:.0%} of {len(texts)} samples begin with "
            f"{phrase!r}; vary more knobs or seeds, raise the temperature, or change the prompt"
        )
