"""Every kind's and every filter's EXAMPLES hold, whatever file is added."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data import schema
from filters import Cleaner, CorpusFilter, Filter, list_filters, load_filter
from filters import Example as FilterExample
from filters.measures import measure
from filters.texts import body
from prompts import Draft, Example, Refusal, list_kinds, load_kind

KINDS = [(name, example) for name in list_kinds() for example in load_kind(name).EXAMPLES]
FILTERS = [(name, example) for name in list_filters() for example in load_filter(name).EXAMPLES]


@pytest.mark.parametrize("name", list_kinds())
def test_a_kind_shows_two_replies_it_takes_and_two_it_refuses(name: str) -> None:
    examples = load_kind(name).EXAMPLES
    assert sum(example.refused is None for example in examples) >= 2
    assert sum(example.refused is not None for example in examples) >= 2


@pytest.mark.parametrize(("name", "example"), KINDS)
def test_a_kinds_example_is_parsed_as_it_says(name: str, example: Example) -> None:
    kind = load_kind(name)(**example.knobs)
    result = kind.parse(example.reply, example.seed)
    if example.refused is None:
        assert result == Draft(example.text or "", example.messages)
    else:
        assert isinstance(result, Refusal)
        assert result.reason == example.refused


@pytest.mark.parametrize(("name", "example"), KINDS)
def test_a_kinds_prompt_holds_what_it_needs_of_the_seed(name: str, example: Example) -> None:
    kind = load_kind(name)(**example.knobs)
    messages = kind.messages(example.seed)
    assert messages[-1]["role"] == "user"
    assert all(set(message) == {"role", "content"} for message in messages)
    asked = messages[-1]["content"].lower()
    for column in kind.NEEDS:
        value = example.seed[column]
        for item in value if isinstance(value, list) else [value]:
            if column != "category" and name != "chat":
                assert str(item).lower() in asked


@pytest.mark.parametrize("name", list_kinds())
def test_a_kind_never_asks_the_model_for_its_tag(name: str) -> None:
    kind = load_kind(name)
    for example in kind.EXAMPLES:
        text = " ".join(m["content"] for m in kind(**example.knobs).messages(example.seed))
        assert f"[{kind.TAG}]" not in text


@pytest.mark.parametrize(("name", "example"), FILTERS)
def test_a_filters_example_is_judged_as_it_says(name: str, example: FilterExample) -> None:
    judge = load_filter(name)(**example.knobs)
    samples = frame(example.samples)
    if isinstance(judge, Filter):
        measured = judge.prepare(measure(samples, judge.MEASURES))
        reasons = judge.reasons(measured)
        assert reasons.to_list() == list(example.reasons)
        rejected = measured.filter(reasons.is_not_null())
        assert judge.figures(rejected).height == rejected.height
    elif isinstance(judge, CorpusFilter):
        corpus = Held(judge, [samples[: len(samples) // 2], samples[len(samples) // 2 :]])
        found = dict(judge.resolve(corpus).rejected.select("id", "reason").iter_rows())
        assert [found.get(id) for id in samples["id"]] == list(example.reasons)
    else:
        assert judge.clean(body(samples)).to_list() == list(example.cleaned)


@pytest.mark.parametrize("name", list_filters())
def test_a_filter_keeps_one_example_and_rejects_another(name: str) -> None:
    judge = load_filter(name)
    if issubclass(judge, Cleaner):
        pairs = [
            (sample["text"], cleaned)
            for example in judge.EXAMPLES
            for sample, cleaned in zip(example.samples, example.cleaned, strict=True)
        ]
        assert any(before == after for before, after in pairs)
        assert any(before != after for before, after in pairs)
        return
    reasons = [reason for example in judge.EXAMPLES for reason in example.reasons]
    assert None in reasons
    assert any(reasons)


class Held:
    """A corpus of parts in memory, references behind."""

    def __init__(self, judge: CorpusFilter, parts: Sequence[pl.DataFrame]) -> None:
        referred = list(judge.references())
        self._parts = [(part, judge.sketch(part)) for part in (*parts, *referred)]
        self._first_reference = len(parts)

    @property
    def scratch(self) -> Path:
        return Path(tempfile.gettempdir())

    def sketches(self, *columns: str) -> pl.DataFrame:
        marked = [
            sketch.with_columns(reference=pl.lit(number >= self._first_reference))
            for number, (_, sketch) in enumerate(self._parts)
        ]
        return pl.concat([part.select(columns) for part in marked])

    def samples(self, rows: "np.ndarray[Any, np.dtype[np.int64]]") -> Iterator[pl.DataFrame]:
        start = 0
        for part, sketch in self._parts:
            inside = rows[(rows >= start) & (rows < start + len(sketch))] - start
            start += len(sketch)
            yield part.filter(pl.col("id").is_in(sketch["id"].gather(inside).to_list()))


def frame(rows: tuple[Any, ...]) -> pl.DataFrame:
    schema_of = dict(pl.DataFrame(schema.SAMPLES.empty_table()).schema)
    if any("score" in row for row in rows):
        schema_of["score"] = pl.Float64()
    columns = dict.fromkeys(schema_of)
    filled = [{**columns, "id": number, "tokens": 0, **row} for number, row in enumerate(rows)]
    return pl.DataFrame(filled, schema=schema_of)
