"""What a mix means, exactly, and which documents validate."""

import numpy as np
import pytest

from data.errors import ShardmillError
from data.mixing import Amount, Documents, plan_mix, repeat, split
from data.packing import mix64


def documents(*lengths: list[int]) -> Documents:
    """A source for each list of lengths; ids are hashes of the place."""
    length = np.array([n for source in lengths for n in source], np.int32)
    source = np.repeat(np.arange(len(lengths)), [len(s) for s in lengths]).astype(np.uint8)
    place = np.arange(len(length))
    id = mix64(place.astype(np.uint64), 7)
    return Documents(
        np.zeros(len(length), np.int32), place.astype(np.int32), place, length, id, source,
        np.zeros(len(length), bool), id,
    )  # fmt: skip


def counts(found: Documents, all: Documents) -> list[int]:
    return [int((found.id == id).sum()) for id in all.id]


@pytest.mark.parametrize(
    ("amounts", "tokens"),
    [
        ({"a": Amount(), "b": Amount()}, {"a": 1000, "b": 3000}),
        ({"a": Amount("repeat", 2.5), "b": Amount("repeat", 0)}, {"a": 2500, "b": 0}),
        ({"a": Amount(), "b": Amount("tokens", 500)}, {"a": 1000, "b": 500}),
        ({"a": Amount(), "b": Amount("share", 0.2)}, {"a": 1000, "b": 250}),
        ({"a": Amount("share", 0.5), "b": Amount("share", 0.5)}, {"a": 1000, "b": 1000}),
        ({"a": Amount("share", 0.5, 2), "b": Amount("share", 0.5)}, {"a": 2000, "b": 2000}),
        ({"a": Amount("tokens", 1500, 2), "b": Amount("repeat", 0)}, {"a": 1500, "b": 0}),
        ({"a": Amount("tokens", 1500, 1, True), "b": Amount()}, {"a": 1000, "b": 3000}),
    ],
)
def test_units_mean_what_they_say(amounts: dict[str, Amount], tokens: dict[str, int]) -> None:
    assert plan_mix({"a": 1000, "b": 3000}, amounts) == pytest.approx(tokens)


@pytest.mark.parametrize(
    ("amounts", "says"),
    [
        (
            {"a": Amount("tokens", 1500), "b": Amount("tokens", 3001)},
            r"a has 1,000 of 1,500 tokens \(500 missing\); b has 3,000 of 3,001",
        ),
        ({"a": Amount("share", 0.5), "b": Amount()}, r"a has 1,000 of 3,000 tokens"),
        ({"a": Amount(), "none": Amount("tokens", 5)}, "none has 0 of 5"),
        ({"a": Amount("share", 0.5), "none": Amount("share", 0.5)}, "none has no tokens"),
    ],
)
def test_a_mix_that_cannot_be_met_says_what_is_missing(
    amounts: dict[str, Amount], says: str
) -> None:
    with pytest.raises(ShardmillError, match=says):
        plan_mix({"a": 1000, "b": 3000, "none": 0}, amounts)


def test_upsampling_is_whole_repeats_and_a_seeded_part() -> None:
    every = documents([10] * 100, [7] * 40)
    taken = repeat(every, {0: 2300.0, 1: 140.0}, seed=3)
    first = counts(taken, every)[:100]
    assert sorted(set(first)) == [2, 3]
    assert first.count(3) == 30
    assert int(taken.length[taken.source == 1].sum()) == 140
    other = counts(repeat(every, {0: 2300.0}, seed=4), every)[:100]
    assert other.count(3) == 30
    assert other != first


def test_a_budget_is_reached_with_the_last_document() -> None:
    every = documents([10] * 100)
    assert int(repeat(every, {0: 95.0}, seed=0).length.sum()) == 100
    assert int(repeat(every, {0: 1.0}, seed=0).length.sum()) == 10


def test_copies_of_a_document_are_ordered_apart() -> None:
    every = documents([10] * 50)
    taken = repeat(every, {0: 1500.0}, seed=0)
    assert len(np.unique(taken.key)) == 150
    order = taken.id[np.argsort(taken.key)]
    assert (order[1:] != order[:-1]).mean() > 0.9


def test_the_choice_does_not_depend_on_the_order_of_arrival() -> None:
    every = documents([5, 9, 12, 30] * 20, [8] * 30)
    shuffled = every.take(np.random.default_rng(0).permutation(110))
    wanted = {0: 1700.5, 1: 100.0}
    found = [repeat(d, wanted, seed=1) for d in (every, shuffled)]
    assert sorted(found[0].key.tolist()) == sorted(found[1].key.tolist())


def test_near_duplicates_validate_together() -> None:
    every = documents([1] * 2000)
    groups = every.id.copy()
    groups[1::2] = groups[::2]
    halves = split(every, 0.2, seed=0, groups=groups)
    assert 300 < len(halves["validation"].id) < 500
    side = np.isin(every.id, halves["validation"].id)
    assert (side[::2] == side[1::2]).all()
    alone = np.isin(every.id, split(every, 0.2, seed=0)["validation"].id)
    assert (alone[::2] != alone[1::2]).any()


def test_a_small_corpus_validates_on_something_but_not_on_all() -> None:
    for count, held in ((1, 0), (2, 1), (3, 1)):
        halves = split(documents([1] * count), 1e-9, seed=0)
        assert [len(half.id) for half in halves.values()] == [count - held, held]
