"""The shipped seed files: enough, varied, and of the form that kinds need."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data import ROOT

FILES = sorted((ROOT / "data" / "seeds").glob("*.jsonl"))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_topics_are_at_least_500_in_at_least_40_categories() -> None:
    topics = rows(ROOT / "data" / "seeds" / "topics.jsonl")
    categories = Counter(row["category"] for row in topics)
    assert len(topics) >= 500
    assert len(categories) >= 40
    assert min(categories.values()) >= 5
    assert len({row["topic"].casefold() for row in topics}) == len(topics)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_seed_stands_twice_and_all_have_the_same_columns(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 100
    assert len(set(lines)) == len(lines)
    assert len({tuple(sorted(row)) for row in rows(path)}) == 1


def test_function_seeds_are_signatures_that_parse() -> None:
    for row in rows(ROOT / "data" / "seeds" / "functions.jsonl"):
        compile(f"{row['signature']}\n    pass\n", "seed", "exec")
