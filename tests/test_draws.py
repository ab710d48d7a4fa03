"""What rows draw: exact counts at every row, no step between knobs, each prompt once."""

from typing import Any

import numpy as np
import pytest

from data.errors import RecipeError
from flows.draws import deal, sequence
from flows.inputs import read_draws

ROWS = 3000


def shares_of(choices: Any) -> tuple[Any, Any]:
    (draw,) = read_draws({"knob": choices})
    weights = np.array(draw.weights, float)
    return draw, weights / weights.sum()


@pytest.mark.parametrize(
    "choices",
    [
        ["a", "b"],
        ["a", "b", "c", "d", "e"],
        {"a": 0.4, "b": 0.3, "c": 0.3},
        {"a": 9, "b": 1},
        {"a": 0.123, "b": 0.5, "c": 0.2, "d": 0.001},
        {"a": 1 / 3, "b": 2 / 3},
    ],
    ids=str,
)
def test_counts_are_exact_at_every_row_and_rows_never_change(choices: Any) -> None:
    draw, shares = shares_of(choices)
    found = sequence(draw, ROWS, 0, "books")
    for choice, share in enumerate(shares):
        counts = np.cumsum(found == choice)
        assert np.abs(counts - share * np.arange(1, ROWS + 1)).max() < 1
    for rows in (1, 7, 500):
        assert (sequence(draw, rows, 0, "books") == found[:rows]).all()
    assert (sequence(draw, ROWS, 1, "books") != found).any()


@pytest.mark.parametrize("choices", [["a", "b"], {"a": 0.7, "b": 0.2, "c": 0.1}], ids=str)
def test_two_knobs_do_not_go_in_step(choices: Any) -> None:
    """Without the seeded swaps of flows/draws.py every pair of choices but a few is never met."""
    draw, shares = shares_of(choices)
    one, two = (sequence(draw, ROWS, 0, name) for name in ("books", "tales"))
    met = np.zeros((len(shares), len(shares)))
    np.add.at(met, (one, two), 1)
    expected = np.outer(shares, shares) * ROWS
    assert np.abs(met / expected - 1).max() < 0.5


def test_a_cross_gives_each_combination_its_exact_share() -> None:
    cross = {"audience": {"a": 0.5, "b": 0.25, "c": 0.25}, "style": {"x": 2, "y": 1}}
    (draw,) = read_draws({"cross": cross})
    assert draw.knobs == ("audience", "style")
    found = sequence(draw, 120, 0)
    counts = dict(zip(draw.values, np.bincount(found).tolist(), strict=True))
    assert counts[("a", "x")] == 40
    assert counts[("c", "y")] == 10


@pytest.mark.parametrize(("rows", "lost"), [(24, 0), (30, 6)])
def test_seeds_meet_every_draw_once_before_one_is_lost(rows: int, lost: int) -> None:
    (draw,) = read_draws({"style": ["a", "b", "c"]})
    drawn = sequence(draw, rows, 0)
    slots = deal([drawn], rows, 8, 1)
    met = [(slot % 8, choice) for slot, choice in zip(slots, drawn, strict=True) if slot >= 0]
    assert len(met) == len(set(met)) == 24
    assert (slots < 0).sum() == lost
    assert sorted(slots[:8].tolist()) == list(range(8))
    assert (deal([drawn[:20]], 20, 8, 1) == slots[:20]).all()


def test_a_prompt_may_be_asked_again_where_the_recipe_says_so() -> None:
    slots = deal([], 20, 4, 3)
    assert (slots >= 0).sum() == 12
    assert np.bincount(slots[slots >= 0] % 4).tolist() == [3, 3, 3, 3]
    assert len(set(slots[slots >= 0].tolist())) == 12


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        ({"style": "academic"}, "takes a list, value: share, or"),
        ({"style": []}, "has no share"),
        ({"style": {"a": 0}}, "has no share"),
        ({"style": {"a": -1}}, "share -1 is no finite number"),
        ({"style": {"a": float("nan")}}, "share nan is no finite number"),
        ({"style": [["a"]]}, "takes texts and numbers"),
        ({"noun": {"file": "nowhere.txt"}}, "nowhere.txt cannot be read"),
        ({"cross": ["a"]}, "takes a mapping of knobs"),
        ({"style": ["a"], "cross": {"style": ["b"]}}, "draws the knob 'style' twice"),
    ],
)
def test_wrong_draws_are_named(vary: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        read_draws(vary)
