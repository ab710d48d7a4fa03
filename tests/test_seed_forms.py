"""The shipped seeds that people wrote out as tasks: of the form their kinds need, and enough."""

import json
import re
from collections import Counter
from typing import Any

import pytest

from data import ROOT

Row = dict[str, Any]

FORMS: dict[str, tuple[int, dict[str, type]]] = {
    "tasks": (820, {"title": str, "category": str, "focus": list}),
    "premises": (420, {"premise": str, "theme": str}),
    "scenes": (310, {"scene": str, "characters": list, "goal": str}),
    "personas": (205, {"name": str, "persona": str, "manner": str, "scenario": str}),
    "functions": (310, {"signature": str, "task": str, "area": str, "level": str}),
    "problems": (305, {"skill": str, "setting": str, "numbers": list, "level": str}),
    "logic": (120, {"form": str, "setting": str, "level": str}),
    "questions": (150, {"question": str, "category": str, "answer": str}),
}
DISTINCT = {
    "tasks": ("title",),
    "premises": ("premise",),
    "scenes": ("scene",),
    "personas": ("name",),
    "functions": ("signature",),
    "problems": ("skill", "setting"),
    "logic": ("setting",),
    "questions": ("question",),
}
HARDNESS = {"easy", "medium", "hard"}


def rows(name: str) -> list[Row]:
    text = (ROOT / "data" / "seeds" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", FORMS)
def test_a_seed_file_is_long_enough_and_every_cell_is_filled(name: str) -> None:
    least, columns = FORMS[name]
    seeds = rows(name)
    assert len(seeds) >= least
    for number, row in enumerate(seeds, 1):
        assert {key: type(value) for key, value in row.items()} == columns, number
        texts = [
            item
            for value in row.values()
            for item in (value if isinstance(value, list) else [value])
            if isinstance(item, str)
        ]
        assert all(text and text == text.strip() for text in texts), number


@pytest.mark.parametrize("name", DISTINCT)
def test_no_seed_asks_for_the_same_thing_twice(name: str) -> None:
    keys = Counter(
        tuple(str(row[column]).casefold() for column in DISTINCT[name]) for row in rows(name)
    )
    assert [key for key, count in keys.items() if count > 1] == []


def test_tasks_cover_many_categories_with_three_points_each() -> None:
    tasks = rows("tasks")
    assert len({row["category"] for row in tasks}) >= 35
    for row in tasks:
        assert len(set(row["focus"])) == 3, row["title"]
        assert row["title"][0].isupper()
        assert not row["title"].endswith("."), row["title"]


def test_premises_are_whole_sentences_with_openings_that_differ() -> None:
    premises = [row["premise"] for row in rows("premises")]
    assert [text for text in premises if text[-1] not in ".?!" or len(text.split()) < 9] == []
    openings = Counter(" ".join(text.split()[:3]) for text in premises)
    assert openings.most_common(1)[0][1] <= 5
    assert len({row["theme"] for row in rows("premises")}) >= 400


def test_scenes_have_two_speakers_or_more() -> None:
    for row in rows("scenes"):
        speakers = [character.partition(",")[0] for character in row["characters"]]
        assert len(set(speakers)) == len(speakers) >= 2, row["scene"]
        assert row["goal"][0].islower(), row["goal"]


def test_functions_are_signatures_that_builtin_types_define() -> None:
    functions = rows("functions")
    assert len({row["area"] for row in functions}) >= 30
    assert {row["level"] for row in functions} == HARDNESS
    defined: list[str] = []
    for row in functions:
        namespace: dict[str, Any] = {}
        exec(f"{row['signature']}\n    pass\n", namespace)
        namespace.pop("__builtins__")
        defined += namespace
    assert len(defined) == len(set(defined)) == len(functions)


def test_functions_say_what_happens_at_the_edges() -> None:
    """A task of one clause leaves the edge cases to the model's taste."""
    for row in rows("functions"):
        assert re.search(r"[.;] ", row["task"]), row["task"]


def test_problems_train_skills_of_all_grades_with_numbers() -> None:
    problems = rows("problems")
    assert len({row["skill"] for row in problems}) >= 305
    grades = Counter(row["level"] for row in problems)
    assert set(grades) == {f"grade {grade}" for grade in range(1, 13)}
    assert min(grades.values()) >= 15
    for row in problems:
        assert row["numbers"], row["skill"]
        assert {type(number) for number in row["numbers"]} <= {int, float}, row["skill"]


def test_puzzles_come_in_many_forms_and_levels() -> None:
    puzzles = rows("logic")
    assert len({row["form"] for row in puzzles}) >= 20
    assert {row["level"] for row in puzzles} == HARDNESS


def test_questions_are_asked_and_answered() -> None:
    questions = rows("questions")
    assert len({row["category"] for row in questions}) >= 12
    for row in questions:
        assert row["question"].endswith("?"), row["question"]
        assert re.search(r"\w", row["answer"]), row["question"]
        assert len(row["answer"].split()) <= 30, row["answer"]
