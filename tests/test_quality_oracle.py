"""Gopher's and FineWeb's rules agree with datatrove's on texts near the thresholds."""

from typing import Any

import polars as pl
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from benchmarks.made_texts import near_thresholds, pages, words_of
from filters import Cleaner, Filter, load_filter
from filters.measures import measure

GOPHER = {
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "short_words",
    "gopher_above_avg_threshold": "long_words",
    "gopher_too_many_hashes": "hashes",
    "gopher_too_many_ellipsis": "ellipses",
    "gopher_too_many_bullets": "bullet_lines",
    "gopher_too_many_end_ellipsis": "ellipsis_lines",
    "gopher_below_alpha_threshold": "few_letters",
    "gopher_enough_stop_words": "few_stop_words",
}
REPETITION = {
    "dup_para_frac": "repeated_paragraphs",
    "dup_para_char_frac": "repeated_paragraph_characters",
    "dup_line_frac": "repeated_lines",
    "dup_line_char_frac": "repeated_line_characters",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"repeated_{n}_grams" for n in range(5, 11)},
}
FINEWEB = {
    "empty": "no_lines",
    "line_punct_ratio": "unended_lines",
    "short_line_ratio": "short_lines",
    "char_dup_ratio": "repeated_lines",
    "list_ratio": "list",
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return near_thresholds(words_of(None), 400)


def ours(name: str, texts: list[str], **knobs: Any) -> list[str | None]:
    judge = load_filter(name)(**knobs)
    assert isinstance(judge, Filter)
    columns = {"text": texts, "tag": [None] * len(texts)}
    samples = pl.DataFrame(columns, schema={"text": pl.String, "tag": pl.String})
    return judge.reasons(judge.prepare(measure(samples, judge.MEASURES))).to_list()


def theirs(judge: Any, names: dict[str, str], texts: list[str]) -> list[str | None]:
    results = [judge.filter(Document(text=text, id="0")) for text in texts]
    return [None if result is True else names[result[1]] for result in results]


@pytest.mark.parametrize(
    ("name", "oracle", "names", "knobs"),
    [
        ("gopher_quality", GopherQualityFilter(), GOPHER, {"alpha_of": "tokens"}),
        (
            "gopher_quality",
            GopherQualityFilter(max_non_alpha_words_ratio=0),
            GOPHER,
            {"min_alpha_words": None},
        ),
        ("gopher_repetition", GopherRepetitionFilter(), REPETITION, {}),
        ("fineweb", FineWebQualityFilter(), FINEWEB, {}),
    ],
)
def test_first_reasons_are_datatroves(
    texts: list[str], name: str, oracle: Any, names: dict[str, str], knobs: dict[str, Any]
) -> None:
    expected = theirs(oracle, names, texts)
    found = ours(name, texts, **knobs)
    assert len(set(expected)) > 2
    assert sum(reason is not None for reason in expected) > len(texts) / 20
    other = [
        (want, got, text)
        for want, got, text in zip(expected, found, texts, strict=True)
        if want != got
    ]
    assert len(other) <= len(texts) * 0.005, other[:3]


C4 = {name: name for name in ("lorem_ipsum", "curly_bracket", "too_few_sentences")}


def test_c4s_reasons_and_lines_are_datatroves() -> None:
    texts = pages(words_of(None), 400)
    for knobs, named in (
        ({}, {}),
        ({"min_num_sentences": 3}, {"min_sentences": 3}),
        ({"min_words_per_line": 5}, {"min_line_words": 5}),
        ({"filter_curly_bracket": False}, {"curly_bracket": False}),
    ):
        expected = theirs(C4QualityFilter(**knobs), C4, texts)
        found = ours("c4", texts, **named)
        assert min(expected.count(reason) for reason in set(expected)) > 5
        assert len(set(expected)) >= 3
        other = [n for n in range(len(texts)) if expected[n] != found[n]]
        assert len(other) <= len(texts) * 0.005, [(expected[n], texts[n]) for n in other[:5]]


def test_the_lines_that_c4_keeps_are_datatroves() -> None:
    texts = pages(words_of(None), 300, seed=1)
    judge = C4QualityFilter(min_num_sentences=-1, filter_curly_bracket=False)
    cleaner = load_filter("c4_lines")()
    assert isinstance(cleaner, Cleaner)
    cleaned = cleaner.clean(pl.Series(texts))
    compared = 0
    for text, lines in zip(texts, cleaned.to_list(), strict=True):
        page = Document(text=text, id="0")
        if judge.filter(page) is True:
            assert lines.strip() == page.text
            compared += bool(page.text)
    assert compared > 60


def test_more_lines_than_words() -> None:
    """Lines of nothing but blanks, all different."""
    blanks = [chr(c) for c in (32, 9, 160, 5760, *range(8192, 8203), 8239, 8287, 12288)]
    text = "\n".join(a + b + c for a in blanks for b in blanks for c in blanks)
    assert ours("gopher_repetition", [text, text + "\n" + text]) == [None, "repeated_lines"]


def test_the_papers_alpha_rule_counts_words_and_not_marks() -> None:
    text = "It is, to be sure, that: one, two; three, and four! " * 6 + "1 2 3 4 5 6 " * 2
    assert alpha([text]) == [None]
    assert alpha([text], alpha_of="tokens") == ["few_letters"]
    assert alpha([text + "7 " * 20]) == ["few_letters"]


def alpha(texts: list[str], **knobs: Any) -> list[str | None]:
    return ours("gopher_quality", texts, min_mean_word_length=None, **knobs)
