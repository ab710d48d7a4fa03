"""The shipped seeds as a whole: enough of each, in the columns that kinds read, no two alike.

A check is a function that returns what is wrong; the last test plants each fault once.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import ROOT
from data.sources import read_files

Row = dict[str, Any]

SEEDS = ROOT / "data" / "seeds"
FILES = sorted(SEEDS.glob("*.jsonl"))
LEVELS = {"grade_school", "high_school", "college"}
WORDS = {"nouns": 400, "verbs": 250, "adjectives": 300}
WORD = re.compile(r"[^\W_]+")
RECURRING = {"category", "level", "area", "domain", "subject", "form"}
"""Columns whose values are shared on purpose: they do not make two rows alike."""
ROWS_ALIKE, TITLES_ALIKE = 0.5, 0.6
"""Jaccard similarity of character 4-grams from which one of two rows adds nothing to prompts. The
closest rows lie at 0.48 (two word problems that train one skill), the closest topics at 0.27."""
EMPTY = re.compile(
    r"\b(?:in (?:today's|the modern) (?:\w+ )?(?:world|age|society)|in this day and age|"
    r"ever-changing|fast-paced|rapidly evolving|the (?:importance|significance|role|impact) of|"
    r"an (?:introduction to|overview of)|everything you need|a comprehensive|the basics of|"
    r"delv(?:e|es|ing) into|explor(?:e|es|ing) the|fascinating|tapestry|unleash|game[- ]changer|"
    r"unlock(?:ing)? the (?:power|secrets|potential)|embark on|(?:journey|dive|deep dive) into|"
    r"it is important to|plays? an? (?:crucial|vital|key|important) role|and much more|"
    r"(?:various|different|key) (?:aspects|factors)|(?:key|basic) concepts|"
    r"(?:real-world|practical) applications|best practices|tips and tricks|pros and cons|etc)\b",
    re.IGNORECASE,
)

RAISED = (
    AssertionError,
    ArithmeticError,
    LookupError,
    NameError,
    SyntaxError,
    TypeError,
    ValueError,
)


def rows_of(path: Path) -> list[Row]:
    return [row for _, row in read_files(str(path)) if isinstance(row, dict)]


def strings(row: Row) -> list[str]:
    """Every text of a row, those in lists too."""
    flat = [item for cell in row.values() for item in (cell if isinstance(cell, list) else [cell])]
    return [item for item in flat if isinstance(item, str)]


def alike(texts: Sequence[str], threshold: float) -> list[tuple[float, str, str]]:
    """All pairs of texts with so high a Jaccard similarity of their character 4-grams.

    Case and punctuation are left out. Exact: an inverted index gives for each text how many grams
    every other text shares with it.
    """
    holders: dict[str, list[int]] = {}
    grams: list[set[str]] = []
    for row, text in enumerate(texts):
        plain = f" {' '.join(WORD.findall(text.casefold()))} "
        grams.append({plain[i : i + 4] for i in range(len(plain) - 3)})
        for gram in grams[row]:
            holders.setdefault(gram, []).append(row)
    index = {gram: np.array(rows) for gram, rows in holders.items()}
    sizes = np.array([len(own) for own in grams])
    found = []
    for row, own in enumerate(grams):
        shared = np.bincount(np.concatenate([index[g] for g in own]), minlength=len(texts))
        close = shared / (sizes + sizes[row] - shared)
        for other in np.flatnonzero(close[:row] >= threshold):
            found.append((round(float(close[other]), 3), texts[other], texts[row]))
    return found


def near_duplicates(rows: Sequence[Row]) -> list[tuple[float, str, str]]:
    own = [{key: row[key] for key in row.keys() - RECURRING} for row in rows]
    found = alike([" ".join(sorted(strings(row))) for row in own], ROWS_ALIKE)
    for column in {"topic", "title"} & rows[0].keys():
        found += alike([row[column] for row in rows], TITLES_ALIKE)
    return found


def empty_phrases(rows: Sequence[Row]) -> list[str]:
    return [text for row in rows for text in strings(row) if EMPTY.search(text)]


def lone_points(rows: Sequence[Row]) -> list[str]:
    """Focus points of one word: they leave the writer to guess what to say about it."""
    return [point for row in rows for point in row.get("focus", []) if len(point.split()) < 2]


def unclean(rows: Sequence[Row]) -> list[str]:
    """Texts with a border of white space, control or decomposed characters, or broken decoding."""
    texts = [text for row in rows for text in strings(row)]
    return [
        text
        for text in texts
        if not text
        or text != unicodedata.normalize("NFC", text).strip()
        or any(unicodedata.category(char)[0] == "C" and char != "\n" for char in text)
        or re.search("\ufffd|\u00c3|\u00e2\u20ac", text)
    ]


def uneven(rows: Sequence[Row]) -> list[str]:
    """Rows whose columns are not those of the first."""
    return [str(row) for row in rows if list(row) != list(rows[0])]


def topic_faults(rows: Sequence[Row]) -> list[str]:
    categories = Counter(row["category"] for row in rows)
    levels = Counter(row["level"] for row in rows)
    wrong = [f"{len(rows)} rows"] if len(rows) < 2_050 else []
    wrong += [f"{len(categories)} categories"] if len(categories) < 75 else []
    wrong += [f"category {key}: {count}" for key, count in categories.items() if count < 10]
    wrong += [f"level {key}: {levels[key]}" for key in LEVELS if levels[key] < 500]
    wrong += [f"unknown level {key}" for key in levels.keys() - LEVELS]
    wrong += [f"points of {row['topic']}" for row in rows if len(set(row["focus"])) != 3]
    return wrong


def extract_faults(rows: Sequence[Row]) -> list[str]:
    """Too few of a domain, a wrong length, or Python in it that fails its own assertions."""
    domains = Counter(row["domain"] for row in rows)
    wrong = [f"domain {key}" for key in ("web", "math", "code") if domains[key] < 30]
    for row in rows:
        blocks = re.findall(r"```python\n(.*?)```", row["text"], re.DOTALL)
        if not 80 <= len(row["text"].split()) <= 160:
            wrong.append(f"length of {row['topic']}")
        if (row["domain"] == "code") != bool(blocks):
            wrong.append(f"code in {row['topic']}")
        for block in blocks:
            try:
                exec(compile(block, row["topic"], "exec"), {})
            except RAISED as error:
                wrong.append(f"{row['topic']}: {error!r}")
    return wrong


def word_faults(words: Sequence[str], least: int) -> list[str]:
    wrong = [f"{len(words)} words"] if len(words) < least else []
    wrong += [word for word, count in Counter(words).items() if count > 1]
    return wrong + [word for word in words if not re.fullmatch("[a-z]{2,12}", word)]


def table(files: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """A file's columns and its number of rows, as the README of the seeds states them."""
    facts = {}
    for path in files:
        rows = rows_of(path) if path.suffix == ".jsonl" else [{"one word a line": ""}]
        lines = len(path.read_text(encoding="utf-8").splitlines())
        facts[path.name] = (", ".join(rows[0]), f"{lines:,}")
    return facts


def readme_faults(readme: str, facts: dict[str, tuple[str, str]]) -> list[str]:
    cells = [line.split("|")[1:-1] for line in readme.splitlines() if line.startswith("| `")]
    stated = {name.strip(" `"): (columns.strip(), n.strip()) for name, columns, n, _ in cells}
    names = sorted(facts.keys() | stated.keys())
    return [
        f"{name}: README says {stated.get(name)}, files say {facts.get(name)}"
        for name in names
        if stated.get(name) != facts.get(name)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", [uneven, unclean, empty_phrases, lone_points, near_duplicates])
def test_a_shipped_file_passes(check: Callable[[Sequence[Row]], list[Any]], path: Path) -> None:
    assert check(rows_of(path)) == []


def test_topics_cover_many_fields_at_three_levels() -> None:
    topics = rows_of(SEEDS / "topics.jsonl")
    assert list(topics[0]) == ["topic", "category", "focus", "level"]
    assert topic_faults(topics) == []


def test_courses_state_their_level_and_readers() -> None:
    courses = rows_of(SEEDS / "courses.jsonl")
    assert list(courses[0]) == ["course", "subject", "level", "audience"]
    assert len({row["course"].casefold() for row in courses}) == len(courses) >= 70
    assert {row["level"] for row in courses} == {
        "grade school",
        "high school",
        "college",
        "professional",
    }


def test_extracts_are_of_a_pages_first_length_and_their_code_runs() -> None:
    extracts = rows_of(SEEDS / "extracts.jsonl")
    assert list(extracts[0]) == ["text", "topic", "domain"]
    assert len(extracts) >= 90
    assert extract_faults(extracts) == []


@pytest.mark.parametrize(("name", "least"), WORDS.items())
def test_words_stand_alone_and_once(name: str, least: int) -> None:
    words = (SEEDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert word_faults(words, least) == []


def test_the_readme_of_the_seeds_states_each_file_as_it_is() -> None:
    facts = table(sorted([*FILES, *SEEDS.glob("*.txt")]))
    readme = (SEEDS / "README.md").read_text(encoding="utf-8")
    assert readme_faults(readme, facts) == []
    assert "Apache-2.0" in readme


TOPIC: Row = {
    "topic": "Tides and the pull of Moon and Sun",
    "category": "oceanography",
    "focus": ["two bulges on opposite sides", "spring and neap tides", "why timing shifts daily"],
    "level": "grade_school",
}
TOPICS = rows_of(SEEDS / "topics.jsonl")
EXTRACTS = rows_of(SEEDS / "extracts.jsonl")
BROKEN = {**EXTRACTS[-1], "text": "word " * 90 + "\n```python\nassert 1 + 1 == 3\n```"}


@pytest.mark.parametrize(
    ("check", "named"),
    [
        (
            lambda: near_duplicates([TOPIC, {**TOPIC, "topic": "What a sailor sees"}]),
            "What a sailor sees",
        ),
        (
            lambda: near_duplicates(
                [
                    TOPIC,
                    {**TOPIC, "focus": ["ebb"], "topic": "TIDES and the pull of the Moon and Sun"},
                ]
            ),
            "TIDES",
        ),
        (lambda: empty_phrases([{**TOPIC, "topic": "The Importance of tides"}]), "Importance"),
        (
            lambda: empty_phrases([{**TOPIC, "focus": ["harbors", "let us delve into eddies"]}]),
            "delve",
        ),
        (lambda: lone_points([{**TOPIC, "focus": ["spring tides", "timing"]}]), "['timing']"),
        (lambda: unclean([{**TOPIC, "topic": "Tides "}]), "['Tides ']"),
        (lambda: unclean([{**TOPIC, "topic": "Caf\u00c3\u00a9 tides"}]), "Caf"),
        (lambda: unclean([{**TOPIC, "focus": ["spring\u200btides"]}]), "spring"),
        (lambda: uneven([TOPIC, {"topic": "Tides"}]), "{'topic': 'Tides'}"),
        (lambda: topic_faults(TOPICS[:2_049]), "2049 rows"),
        (
            lambda: topic_faults([{**row, "level": "college"} for row in TOPICS]),
            "level high_school: 0",
        ),
        (lambda: topic_faults([{**TOPIC, "level": "phd"}]), "unknown level phd"),
        (lambda: topic_faults([*TOPICS, {**TOPIC, "category": "knots"}]), "['category knots: 1']"),
        (
            lambda: topic_faults([{**TOPIC, "category": f"{n // 40}"} for n in range(2_060)]),
            "52 categories",
        ),
        (
            lambda: topic_faults([*TOPICS, {**TOPIC, "focus": ["a b", "a b", "c d"]}]),
            "['points of Tides",
        ),
        (lambda: extract_faults([*EXTRACTS, BROKEN]), "AssertionError"),
        (lambda: extract_faults([*EXTRACTS, {**EXTRACTS[0], "text": "Short."}]), "['length of"),
        (
            lambda: extract_faults([row for row in EXTRACTS if row["domain"] != "math"]),
            "['domain math']",
        ),
        (lambda: word_faults(["owl", "owl"], 2), "['owl']"),
        (lambda: word_faults(["owl", "Ice-cream"], 2), "['Ice-cream']"),
        (lambda: word_faults(["owl"], 2), "['1 words']"),
        (lambda: readme_faults("| `a` | one word | 7 | x |", {"a": ("one word", "8")}), "'7'"),
        (lambda: readme_faults("", {"a": ("one word", "8")}), "None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_planted_fault_is_found(check: Callable[[], list[Any]], named: str) -> None:
    assert named in str(check())


def test_rows_that_share_only_their_subject_are_not_alike() -> None:
    other = {**TOPIC, "topic": "Harnessing tides for power", "focus": ["barrages", "slack water"]}
    assert near_duplicates([TOPIC, other]) == []
    assert empty_phrases([{**TOPIC, "topic": "Elder Delve, a mole who takes a role"}]) == []
