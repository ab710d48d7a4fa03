"""How alike samples are: openings, distinct n-grams, similarity, and the warning of a build."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from benchmarks.diversity import samples_of
from flows.diversity import commonest, measure, opening
from tests.builds import Notes, build
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def test_an_opening_is_five_words_whatever_their_case_and_marks() -> None:
    texts = pl.Series(["Once upon a time, there...", '"ONCE upon — a time there was', "Ice", ""])
    found = opening(texts).to_list()
    assert found == ["once upon a time there", "once upon a time there", "ice", ""]
    assert commonest(texts) == ("once upon a time there", 0.5)


def test_figures_tell_equal_texts_from_different_ones() -> None:
    same = measure(pl.Series(["the cat sat on the mat today"] * 10))
    other = measure(pl.Series([" ".join(f"w{n}x{k}" for k in range(7)) for n in range(10)]))
    assert same["opening_share"] == 1
    assert same["self_similarity"] == 1
    assert same["distinct_1"] == pytest.approx(6 / 70)
    assert same["distinct_2"] == pytest.approx(6 / 60)
    assert other["distinct_3"] == 1
    assert other["self_similarity"] < 0.05
    assert measure(pl.Series([], dtype=pl.String))["samples"] == 0


def test_similarity_is_the_mean_jaccard_of_three_grams() -> None:
    words = [f"w{n}" for n in range(200)]
    half = measure(pl.Series([" ".join(words), " ".join(words[:100])]))
    assert half["self_similarity"] == pytest.approx(98 / 198, abs=0.13)


@pytest.mark.parametrize(("same", "warned"), [(1, True), (9, False)])
def test_a_build_warns_where_one_opening_stands_too_often(
    write_recipe: Write, tmp_path: Path, same: int, warned: bool
) -> None:
    def answer(body: dict[str, Any], before: int) -> web.Response:
        start = "In the realm of science" if not body["seed"] % same else f"At {body['seed']} it is"
        text = f"{start}, there are {body['seed']} things to learn."
        reply = {"message": {"content": text}, "finish_reason": "stop"}
        return web.json_response({"choices": [reply], "usage": {}})

    def only_books(recipe: dict[str, Any]) -> None:
        del recipe["generate"]["sums"]
        recipe["generate"]["books"]["samples"] = 60

    notes = Notes()
    with FakeServer(fault=answer) as server:
        build(write_recipe(server.url, change=only_books), tmp_path / "out", notes=notes)
    warnings = [line for line in notes.lines if line.startswith("warning: books")]
    assert bool(warnings) == warned
    row = pl.read_csv(tmp_path / "out" / "openings.csv").row(0, named=True)
    assert row["opening"] == "in the realm of science"
    assert row["collapsed"] == warned
    (found,) = samples_of(tmp_path / "out").items()
    assert (found[0], len(found[1])) == ("textbook", 60)
    assert measure(found[1])["opening_share"] == pytest.approx(row["share"], abs=1e-3)
    if warned:
        assert "100% of 60 samples begin with 'in the realm of science'" in warnings[0]
