"""Reject texts that hold items of benchmarks."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from data import ROOT
from filters import Example, Filter
from filters.benchmarks import Benchmark
from filters.characters import folds
from filters.kernels import utf8
from filters.ngrams import LONGEST_ITEM, Index, build_index, find_matches, word_spans
from filters.references import digests
from filters.texts import body

_SAMPLE = str(ROOT / "data" / "samples" / "benchmark.jsonl")
_SHOWN = 400
_MATCHES = pl.List(
    pl.Struct(
        {
            "benchmark": pl.String,
            "item": pl.String,
            "share": pl.Float64,
            "matched": pl.String,
        }
    )
)


class Decontaminate(Filter):
    """Reject texts that hold items of benchmarks, questions and answers each by themselves.

    Every item that shares an n-gram with a text is aligned with it, word by word, and counts
    where the text holds more than `min_share` of it in runs of three words and more. Items
    shorter than the n-gram count where they stand in the text as a whole, and those under
    `min_words` are not looked for.
    """

    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)
    """Files (`{file: ..., columns: [...]}`), hub ids, or `{hub: ..., file: a local copy}`."""
    mode: Literal["drop", "audit"] = "drop"
    """`audit` keeps every text; what matched is in the notes and the report either way."""
    ngram: int = Field(10, ge=3, le=64)
    """Words that a text and an item have to share in a row before they are compared."""
    min_share: float = Field(0.5, ge=0, lt=1)
    """Share of an item's words that a text may hold."""
    min_words: int = Field(6, ge=3)
    """Items of fewer words are not looked for."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.ngram:
            raise ValueError("min_words is above ngram")
        return self

    def anchored(self, find: Callable[[str], str]) -> Self:
        found = [
            b.model_copy(update={"file": find(b.file)}) if b.file else b for b in self.benchmarks
        ]
        return self.model_copy(update={"benchmarks": tuple(found)})

    def offline(self) -> Self:
        there = [
            b if b.file else Benchmark(file=_SAMPLE, columns=("question", "answer"), name=b.name)
            for b in self.benchmarks
        ]
        return self.model_copy(update={"benchmarks": tuple(there)})

    def files(self) -> dict[str, str]:
        return digests([b.file for b in self.benchmarks if b.file])

    def check(self) -> None:
        _load(self.benchmarks, self.ngram, self.min_words)

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        names, index = _load(self.benchmarks, self.ngram, self.min_words)
        texts = body(samples)
        data, offsets = utf8(texts)
        found, shares = find_matches(
            data,
            offsets,
            folds()[0],
            self.ngram,
            index.short,
            index.words,
            index.borders,
            index.filter,
            index.keys,
            index.heads,
            index.links,
            index.items,
            index.places,
            self.min_share,
        )
        matches: dict[int, list[dict[str, Any]]] = {}
        for (row, item, first, behind), share in zip(found.tolist(), shares.tolist(), strict=True):
            text = data[offsets[row] : offsets[row + 1]]
            spans = word_spans(text, folds()[0])[first:behind]
            shown = text[spans[0, 0] : spans[-1, 1]].tobytes().decode("utf-8", "replace")
            benchmark, name = names[item]
            match = {"benchmark": benchmark, "item": name, "share": round(share, 4)}
            matches.setdefault(row, []).append({**match, "matched": shown[:_SHOWN]})
        places = np.full(len(samples), len(matches), np.uint32)  # the null behind all matches
        places[list(matches)] = np.arange(len(matches))
        column = pl.Series("matches", [*matches.values(), None], dtype=_MATCHES)
        return samples.with_columns(column.gather(places))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        if self.mode == "audit":
            return pl.repeat(None, len(samples), dtype=pl.String, eager=True)
        held = pl.col("matches").is_not_null()
        return samples.select(reason=pl.when(held).then(pl.lit("contaminated")))["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        best = pl.col("matches").list.eval(pl.element().sort_by(pl.element().struct["share"])).list
        return (
            samples.select(best.last().alias("match"))
            .unnest("match")
            .with_columns(items=samples["matches"].list.len())
        )

    def notes(self, samples: pl.DataFrame) -> pl.DataFrame | None:
        held = samples.filter(pl.col("matches").is_not_null())
        return held.select("id", "source", "matches").explode("matches").unnest("matches")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {
                    "text": "First: a tank holds ninety litres, and a pump fills fifteen litres "
                    "each minute; how long until the empty tank is full? Now you."
                },
                {"text": "A tank holds water, and a pump fills it; how long until it is full?"},
                {"text": "She asked: which gas do plants take up from air? They did not know."},
                {"text": ""},
            ),
            reasons=("contaminated", None, "contaminated", None),
            knobs={"benchmarks": [{"file": _SAMPLE, "columns": ["question"]}]},
        ),
        Example(
            samples=({"text": "Which gas do plants take up from air?"},),
            reasons=(None,),
            knobs={
                "benchmarks": [{"file": _SAMPLE, "columns": ["question"]}],
                "mode": "audit",
            },
        ),
    )


@functools.lru_cache(maxsize=8)
def _load(
    benchmarks: tuple[Benchmark, ...], ngram: int, short: int
) -> tuple[list[tuple[str, str]], Index]:
    """Name and item of each piece of text that is looked for, and their index."""
    names, texts = [], []
    for benchmark in benchmarks:
        for item, text in benchmark.texts():
            words = text.split()
            for start in range(0, len(words), LONGEST_ITEM):
                piece = words[start : start + LONGEST_ITEM]
                names.append((benchmark.name, item if start == 0 else f"{item}+{start}"))
                texts.append(" ".join(piece))
    data, offsets = utf8(pl.Series(texts, dtype=pl.String))
    return names, build_index(data, offsets, ngram, short)
