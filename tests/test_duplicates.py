"""Duplicates: found and no others, whatever the parts, the threads and the order."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.made_texts import corpus, words_of
from filters.exact_duplicate import ExactDuplicate
from filters.near_duplicate import NearDuplicate
from tests.corpora import frame, resolve, write_lines

SEA = "The sea is deep and the sea is wide, and nobody who lives by it has ever seen its end."


def near(**knobs: Any) -> NearDuplicate:
    return NearDuplicate.model_validate(knobs)


def exact(**knobs: Any) -> ExactDuplicate:
    return ExactDuplicate.model_validate(knobs)


def rejected(judge: Any, rows: list[dict[str, Any]], scratch: Path) -> dict[int, str]:
    found = resolve(judge, [frame(rows)], scratch).rejected
    return dict(found.select("id", "reason").iter_rows())


@pytest.fixture(scope="module")
def made() -> tuple[list[str], list[int]]:
    texts, origins = zip(*corpus(words_of(None), 1500, seed=3), strict=True)
    return list(texts), list(origins)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return {tuple(words[n : n + 5]) for n in range(len(words) - 4)}


def test_pairs_alike_are_found_and_no_others(
    made: tuple[list[str], list[int]], tmp_path: Path
) -> None:
    """Against Python's own count of each pair that the corpus was made with."""
    texts, origins = made
    sets = [shingles(text) for text in texts]
    alike = {
        (min(n, o), max(n, o))
        for n, o in enumerate(origins)
        if o >= 0 and len(sets[n] & sets[o]) / len(sets[n] | sets[o]) >= 0.5
    }
    found = resolve(near(), [frame([{"text": text} for text in texts])], tmp_path)
    pairs = {
        (min(a, b), max(a, b)): share
        for a, b, share in (
            (int(a, 16), int(b, 16), share) for a, b, share, _ in found.tables["pairs"].iter_rows()
        )
    }
    assert len(alike) > 60
    assert len(alike & set(pairs)) >= 0.94 * len(alike)  # .97 expected, of about a hundred pairs
    for (a, b), share in pairs.items():
        counted = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
        assert counted >= 0.49
        assert share == pytest.approx(counted, abs=0.01)


def test_parts_and_their_order_change_nothing(
    made: tuple[list[str], list[int]], tmp_path: Path
) -> None:
    samples = frame([{"text": text} for text in made[0][:400]])
    for judge in (near(), near(preset="fineweb"), exact()):
        whole = resolve(judge, [samples], tmp_path).rejected.sort("id")
        parts = [samples[n : n + 37] for n in range(0, len(samples), 37)]
        mixed = resolve(judge, parts[::-1], tmp_path).rejected.sort("id")
        assert whole.height > 3
        assert whole.equals(mixed)


def test_a_group_keeps_the_first_the_longest_or_the_best(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": SEA}, {"text": SEA + " Truly."}, {"text": SEA}]
    assert set(rejected(near(), rows, tmp_path)) == {1, 2}
    assert set(rejected(near(keep="longest"), rows, tmp_path)) == {0, 2}
    best = near(keep="best", score={"column": "tokens"})
    samples = frame(rows).with_columns(score=pl.Series([1.0, 2.0, 3.0]))
    assert set(resolve(best, [samples], tmp_path).rejected["id"]) == {0, 1}


def test_sources_are_compared_across_or_within(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": SEA, "source": "a"},
        {"text": SEA, "source": "b"},
        {"text": SEA, "source": "a"},
    ]
    judges: list[Any] = [near, exact]
    for judge in judges:
        assert set(rejected(judge(), rows, tmp_path)) == {1, 2}
        assert set(rejected(judge(scope="source"), rows, tmp_path)) == {2}


@pytest.mark.parametrize("tag", [None, "Math", "Code"])
def test_samples_like_a_reference_fall_and_the_reference_is_no_sample(
    tag: str | None, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "set.jsonl", [{"body": SEA}, {"body": "Nothing like it at all"}])
    knobs: dict[str, Any] = {"against": [str(file)], "columns": ["body"]}
    rows: list[dict[str, Any]] = [
        {"text": SEA, "tag": tag},
        {"text": "Some words of another text altogether."},
    ]
    assert rejected(near(**knobs), rows, tmp_path) == {0: "like_reference"}
    assert rejected(exact(**knobs), rows, tmp_path) == {0: "in_reference"}


@pytest.mark.parametrize(
    ("tag", "other"),
    [
        ("Math", ("12 pens", "13 pens")),
        ("Math", ("three of them", "seven of them")),
        ("Math", ("x + y", "x - y")),
        ("Math", ("3.5 m", "35 m")),
        ("Code", ("total += n", "total -= n")),
        ("Code", ("limit = 10", "limit = 12")),
        ("Code", ("name = 'a'", "name = 'b'")),
        ("Code", ("flag is None", "flag is not None")),
    ],
)
def test_what_tells_maths_and_code_apart_is_no_edit(
    tag: str, other: tuple[str, str], tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [{"text": f"{SEA}\n{piece}\n{SEA}", "tag": tag} for piece in other]
    assert rejected(near(), rows, tmp_path) == {}
    assert len(rejected(near(), [{**row, "tag": None} for row in rows], tmp_path)) == 1
    changed = f"{SEA}\n{other[0]}\n{SEA}".replace("nobody", "noone")
    same = [rows[0], {**rows[0], "text": changed}]
    assert len(rejected(near(), same, tmp_path)) == 1


def test_clusters_join_what_no_filter_removes(tmp_path: Path) -> None:
    """Copies in two sources, problems that differ in a number, and whatever an audit keeps."""
    tank = "A tank of {} litres is filled by two pumps, and each of them gives nine litres."
    rows: list[dict[str, Any]] = [
        {"text": SEA, "source": "a"},
        {"text": SEA + " Truly.", "source": "b"},
        {"text": tank.format(30), "tag": "Math"},
        {"text": tank.format(40), "tag": "Math"},
        {"text": "Some words of another text altogether."},
        {"text": SEA, "source": "a"},
    ]
    for knobs, fallen in (({"scope": "source"}, {5}), ({"mode": "audit"}, set())):
        found = resolve(near(**knobs), [frame(rows)], tmp_path)
        assert set(found.rejected["id"]) == fallen
        table = found.tables["clusters"]
        assert dict(table.select("id", "cluster").iter_rows()) == {0: 0, 1: 0, 5: 0, 2: 2, 3: 2}
        assert table.filter(pl.col("id") == 0)["similarity"].item() == 1.0
        assert 0.5 <= table.filter(pl.col("id") == 2)["similarity"].item() < 1
        judged = exact(**knobs)
        found = resolve(judged, [frame([*rows, {"text": SEA, "source": "b"}])], tmp_path)
        assert set(found.rejected["id"]) == fallen
        assert found.tables["clusters"].rows() == [(0, 0, 1.0), (5, 0, 1.0), (6, 0, 1.0)]


def test_short_empty_and_blank_texts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": text} for text in ("Up we go", "up, we go!", "", "", "!!! ???", "... ---", " ")
    ]
    assert rejected(near(), rows, tmp_path) == {1: "like_another"}


def test_a_hundred_thousand_identical_rows_cost_no_square(tmp_path: Path) -> None:
    ids = pl.DataFrame({"id": pl.int_range(100_000, dtype=pl.UInt64, eager=True)})
    samples = ids.join(frame([{"text": SEA}]).drop("id"), how="cross")
    found = resolve(near(), [samples], tmp_path)
    assert found.rejected.height == 99_999
    assert found.tables["pairs"].height < 300_000


def test_one_text_of_fifty_megabytes_and_one_without_spaces(tmp_path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 5000, 6_000_000).astype(str)
    long = " ".join(words.tolist())[:30_000_000]
    texts = [long, long[:-20] + " the end of it", "x" * 20_000_000]
    assert set(rejected(near(), [{"text": text} for text in texts], tmp_path)) == {1}
