"""Ids, loss spans and cuts of whole conversations, against tokenizing their text in one."""

import re

import numpy as np
import polars as pl
import pytest

from data.encoding import Encoded, encode, sample_agrees
from data.templates import TEMPLATES, Style, merge, written
from data.tokenization import Tokenizer, Unencodable, load_tokenizer
from tests.test_templates import EMPTY, ONE, SYSTEM, TWO, samples

LONG = [("user", "Why  is ice\tlight?\n"), ("assistant", "\n Because it floats.\n\n"), *TWO]


def prepared(name: str, tokenizer: str) -> tuple[Tokenizer, Style]:
    base = load_tokenizer(tokenizer)
    template = TEMPLATES[name]
    added = (*template.special, *(("<s>",) if template.writes_bos and not base.bos_token else ()))
    made = load_tokenizer(tokenizer, added)
    style = Style(eos=made.eos_token, bos=made.bos_token, end=made.eos_token, masked=template.masks)
    return made, style


def run(name: str, tokenizer: str, frame: pl.DataFrame) -> tuple[Encoded, Tokenizer]:
    made, style = prepared(name, tokenizer)
    template = TEMPLATES[name]
    rendered = template.render(frame, style)
    encoded = encode(rendered, len(frame), made, own_space=template.own_space, masked=style.masked)
    return encoded, made


def row(encoded: Encoded, number: int) -> list[int]:
    found: list[int] = encoded.ids[encoded.offsets[number] : encoded.offsets[number + 1]].tolist()
    return found


def spans(encoded: Encoded, number: int) -> list[tuple[int, int]]:
    lists = encoded.spans
    values = lists.values[lists.offsets[number] : lists.offsets[number + 1]].reshape(-1, 2)
    return [(int(start), int(end)) for start, end in values]


@pytest.mark.parametrize("tokenizer", ["gpt2", "mistral-v1"])
@pytest.mark.parametrize("name", [name for name in TEMPLATES if TEMPLATES[name].masks])
def test_ids_are_those_of_the_text_section_by_section(name: str, tokenizer: str) -> None:
    frame = samples(ONE, SYSTEM, TWO, EMPTY)
    encoded, made = run(name, tokenizer, frame)
    _, style = prepared(name, tokenizer)
    texts = written(merge(TEMPLATES[name].render(frame, style).segments)).to_list()
    pattern = f"({'|'.join(re.escape(t) for t in sorted(made.special, key=len, reverse=True))})"
    for number, text in enumerate(texts):
        expected: list[int] = []
        for piece in filter(None, re.split(pattern, text)):
            if piece in made.special:
                expected.append(made.special[piece])
            else:
                own = TEMPLATES[name].own_space
                expected += made.encode([piece], continued=own)[0].tolist()
        assert row(encoded, number) == expected
    assert encoded.disagreeing == 0
    assert not len(encoded.rejected)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if TEMPLATES[name].masks])
def test_the_last_trained_token_ends_the_turn_and_the_prompt_is_a_prefix(name: str) -> None:
    encoded, made = run(name, "mistral-v1", samples(LONG, TWO))
    for number in range(2):
        ids = row(encoded, number)
        found = spans(encoded, number)
        assert len(found) == (3 if number == 0 else 2)
        assert all(ids[end - 1] in made.special.values() for _, end in found)
        prompt, _ = run(name, "mistral-v1", samples((LONG, TWO)[number][:1]))
        shared = min(len(row(prompt, 0)), found[0][0])
        assert row(prompt, 0)[: shared - 1] == ids[: shared - 1]


def test_whole_text_that_tokenizes_otherwise_is_counted() -> None:
    """A line break at the answer's start merges with the one before it."""
    encoded, _ = run("zephyr", "gpt2", samples([("user", "U"), ("assistant", "\n\nA")], ONE))
    assert encoded.disagreeing == 1


def test_cuts_are_behind_the_assistants_turns_and_at_the_end() -> None:
    encoded, made = run("zephyr", "gpt2", samples(TWO, "a text"))
    ids = row(encoded, 0)
    first, second, whole = encoded.cuts.values.tolist()
    assert encoded.cuts.offsets.tolist() == [0, 3, 3]
    assert ids[first - 1] == ids[second - 1] == made.eos
    assert made.decode(ids[:first]).endswith("A<|endoftext|>")
    assert whole == len(ids)


def test_conversations_that_train_nothing_are_rejected() -> None:
    encoded, _ = run("chatml", "gpt2", samples([("user", "U")], ONE))
    assert encoded.rejected.select("row", "reason").rows() == [(0, "nothing_trained")]


def test_a_doubled_bos_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tokenizer.encode

    def doubling(self, texts, *, continued=False):  # type: ignore[no-untyped-def]
        ids, offsets = honest(self, texts, continued=continued)
        bos = self.special[self.bos_token]
        return np.insert(ids, offsets[:-1], bos), offsets + np.arange(len(offsets))

    monkeypatch.setattr(Tokenizer, "encode", doubling)
    encoded, _ = run("llama2-inst", "mistral-v1", samples(ONE))
    assert encoded.rejected["reason"].to_list() == ["bos_count"]


def test_texts_that_the_vocabulary_lacks_are_rejected_and_the_others_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Tokenizer.encode

    def picky(self, texts, *, continued=False):  # type: ignore[no-untyped-def]
        rows = [place for place, text in enumerate(texts) if "bad" in text]
        if rows:
            raise Unencodable(rows, "lacks a byte")
        return honest(self, texts, continued=continued)

    monkeypatch.setattr(Tokenizer, "encode", picky)
    encoded, made = run("plain", "gpt2", samples("good", "bad", "fine"))
    assert encoded.rejected.rows() == [(1, "lacks_bytes", "lacks a byte")]
    assert [made.decode(row(encoded, n)) for n in (0, 1, 2)] == [
        "good<|endoftext|>",
        "",
        "fine<|endoftext|>",
    ]


def test_the_sample_that_the_reference_checks_follows_from_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def note(self, texts, *, continued=False):  # type: ignore[no-untyped-def]
        seen.extend(texts)
        return True

    monkeypatch.setattr(Tokenizer, "agrees", note)
    made, style = prepared("plain", "gpt2")
    texts = [f"text {n} " + "word " * 20 for n in range(400)]
    ids = np.arange(400, dtype=np.uint64)
    whole = TEMPLATES["plain"].render(samples(*texts), style)
    assert sample_agrees(whole, ids, made, own_space=False)
    at_once = sorted(seen)
    assert 5 < len(at_once) < 80
    seen.clear()
    for start in range(0, 400, 7):
        part = TEMPLATES["plain"].render(samples(*texts[start : start + 7]), style)
        sample_agrees(part, ids[start : start + 7], made, own_space=False)
    assert sorted(seen) == at_once
