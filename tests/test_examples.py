"""Every kind's and every filter's EXAMPLES hold, whatever file is added."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data import schema
from filters import Cleaner, CorpusFilter, Filter, list_filters, load_filter
from filters import Example as FilterExample
from filters.measures import measure
from filters.texts import body
from prompts import Draft, Example, Message, Refusal, TaskKind, list_kinds, load_kind
from tests.corpora import resolve

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
    result = answered(kind, example)
    if example.refused is None:
        assert isinstance(result, Draft), result
        assert (result.text, result.messages) == (example.text or "", example.messages)
        assert example.meta.items() <= result.meta.items()
    else:
        assert isinstance(result, Refusal)
        assert result.reason == example.refused


def answered(kind: TaskKind, example: Example) -> Draft | Refusal:
    """What the kind makes of the example's replies, its follow-ups asked as a build asks them."""
    turns: list[Message] = [{"role": "assistant", "content": example.reply}]
    for reply in example.replies:
        following = kind.follow_up(example.seed, turns)
        assert following is not None
        turns.append({"role": "user", "content": following})
        turns.append({"role": "assistant", "content": reply})
    if len(turns) == 1:
        return kind.parse(example.reply, example.seed)
    assert kind.follow_up(example.seed, turns) is None
    return kind.parse_exchange([kind.messages(example.seed)[-1], *turns], example.seed)


@pytest.mark.parametrize(("name", "example"), KINDS)
def test_a_kinds_prompt_holds_what_it_needs_of_the_seed(name: str, example: Example) -> None:
    kind = load_kind(name)(**example.knobs)
    messages = kind.messages(example.seed)
    assert messages[-1]["role"] == "user"
    assert all(set(message) == {"role", "content"} for message in messages)
    last = next((n for n, m in reversed(list(enumerate(messages))) if m["role"] == "assistant"), -1)
    asked = "\n".join(message["content"] for message in messages[last + 1 :]).lower()
    for column in kind.NEEDS:
        value = example.seed[column]
        for item in value if isinstance(value, list) else [value]:
            if column != "category" and name != "chat":
                text = item["content"] if isinstance(item, dict) else str(item)
                assert text.lower() in asked


@pytest.mark.parametrize("name", list_kinds())
def test_a_kind_never_asks_the_model_for_its_tag(name: str) -> None:
    kind = load_kind(name)
    for example in kind.EXAMPLES:
        text = " ".join(m["content"] for m in kind(**example.knobs).messages(example.seed))
        assert f"[{kind.TAG}]" not in text


@pytest.mark.parametrize(("name", "example"), FILTERS)
def test_a_filters_example_is_judged_as_it_says(
    name: str, example: FilterExample, tmp_path: Path
) -> None:
    judge = load_filter(name)(**example.knobs)
    samples = frame(example.samples)
    if isinstance(judge, Filter):
        measured = judge.prepare(measure(samples, judge.MEASURES))
        reasons = judge.reasons(measured)
        assert reasons.to_list() == list(example.reasons)
        rejected = measured.filter(reasons.is_not_null())
        assert judge.figures(rejected).height == rejected.height
    elif isinstance(judge, CorpusFilter):
        halves = [samples[: len(samples) // 2], samples[len(samples) // 2 :]]
        verdicts = resolve(judge, halves, tmp_path).rejected
        found = dict(verdicts.select("id", "reason").iter_rows())
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


def frame(rows: tuple[Any, ...]) -> pl.DataFrame:
    schema_of = dict(pl.DataFrame(schema.SAMPLES.empty_table()).schema)
    if any("score" in row for row in rows):
        schema_of["score"] = pl.Float64()
    columns = dict.fromkeys(schema_of)
    filled = [{**columns, "id": number, "tokens": 0, **row} for number, row in enumerate(rows)]
    return pl.DataFrame(filled, schema=schema_of)
