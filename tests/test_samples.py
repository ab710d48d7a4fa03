"""The samples of published corpora: enough rows, alike in form and in nothing else.

A check is a function that returns what is wrong; the last test plants each fault once.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from data import ROOT
from data.tokenization import load_tokenizer

Row = dict[str, Any]

SAMPLES = ROOT / "data" / "samples"
FILES = sorted(path for path in SAMPLES.glob("*.jsonl") if path.stem != "benchmark")
TEXTS = {
    "automathtext-code": ("text",),
    "automathtext-web": ("text",),
    "code-search-net": ("whole_func_string",),
    "cosmopedia": ("text",),
    "cosmopedia-v2": ("text",),
    "fineweb-edu": ("text",),
    "hermes-3": ("conversations",),
    "metamath": ("query", "response"),
    "no-robots": ("messages",),
    "open-orca": ("question", "response"),
    "openhermes": ("conversations",),
    "openwebtext": ("text",),
    "pippa": ("conversation",),
    "sciphi-textbooks": ("completion",),
    "stack-notebooks": ("content",),
    "tiny-textbooks": ("text", "textbook"),
    "ultrachat": ("messages",),
}
"""The columns that a recipe trains on: those are what has to differ from row to row."""
LEAST_ROWS, LEAST_WORDS, ALIKE = 40, 40, 0.2
LABELS = ("role", "from", "is_human")
WORD = re.compile(r"\w+")
REAL_ADDRESS = re.compile(
    r"https?://(?!(?:[\w-]+\.)*example\.(?:org|com|net)\b|localhost\b|127\.)[\w-]+\.\w+"
    r"|[\w.]+@(?!example\.)[\w-]+\.[a-z]{2,}"
)
"""Schemas are no hosts, and decorators and matrix products no e-mail addresses."""


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cells_of(row: Row) -> Iterator[str]:
    """The code cells of a notebook."""
    for cell in json.loads(row["content"])["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


def strings(value: Any) -> Iterator[str]:
    """Every text in a cell; of turns those that are not the system's, without their labels."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict) and "system" not in (value.get("role"), value.get("from")):
        for key, item in value.items():
            if key not in LABELS:
                yield from strings(item)


def texts_of(name: str, rows: list[Row]) -> list[str]:
    if name == "stack-notebooks":
        cells = ([cell["source"] for cell in json.loads(row["content"])["cells"]] for row in rows)
        return ["\n".join(strings(each)) for each in cells]
    return ["\n".join(strings([row[column] for column in TEXTS[name]])) for row in rows]


def too_little(name: str, rows: list[Row]) -> list[str]:
    wrong = [f"{len(rows)} rows"] if len(rows) < LEAST_ROWS else []
    words = [len(text.split()) for text in texts_of(name, rows)]
    wrong += [f"row {row} is empty" for row, count in enumerate(words) if not count]
    mean = sum(words) / len(words)
    return [*wrong, f"{mean:.0f} words on average"] if mean < LEAST_WORDS else wrong


def uneven(name: str, rows: list[Row]) -> list[str]:
    """Other columns than the first row's, or two types besides null in a column."""
    wrong = [f"row {i}: {list(row)}" for i, row in enumerate(rows) if list(row) != list(rows[0])]
    for column in rows[0]:
        kinds = {type(row.get(column)).__name__ for row in rows} - {"NoneType"}
        wrong += [f"{column}: {sorted(kinds)}"] if len(kinds) > 1 else []
    return wrong


def near_duplicates(name: str, rows: list[Row]) -> list[str]:
    """Pairs by the Jaccard similarity of their texts' word 5-grams."""
    grams = []
    for text in texts_of(name, rows):
        words = WORD.findall(text.casefold())
        grams.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return [
        f"rows {a} and {b}"
        for a, b in combinations(range(len(grams)), 2)
        if len(grams[a] & grams[b]) >= ALIKE * len(grams[a] | grams[b])
    ]


def real_addresses(name: str, rows: list[Row]) -> list[str]:
    found = (REAL_ADDRESS.search("\n".join(strings(list(row.values())))) for row in rows)
    return [match.group() for match in found if match]


def broken_python(name: str, rows: list[Row]) -> list[str]:
    if name == "stack-notebooks":
        sources = {f"row {i}": list(cells_of(row)) for i, row in enumerate(rows)}
    elif name == "automathtext-code":
        python = [row for row in rows if row["file_name"].endswith(".py")]
        sources = {row["file_path"]: [row["text"]] for row in python}
    else:
        return []
    wrong = [f"{where} has no code" for where, cells in sources.items() if not cells]
    for where, cells in sources.items():
        for cell in cells:
            try:
                ast.parse(cell)
            except SyntaxError as error:
                wrong.append(f"{where}: {error}")
    return wrong


def wrong_lengths(name: str, rows: list[Row]) -> list[str]:
    """Lengths that a row states and its text does not have."""
    if name in ("cosmopedia", "cosmopedia-v2"):
        column = "text_token_length" if name == "cosmopedia" else "token_length"
        offsets = load_tokenizer("gpt2").encode([row["text"] for row in rows])[1].tolist()
        true = [end - start for start, end in pairwise(offsets)]
    elif name == "stack-notebooks":
        column, true = "size", [len(row["content"].encode()) for row in rows]
    elif name == "tiny-textbooks":
        column, true = "len", [len(row["textbook"]) for row in rows]
    else:
        return []
    return [
        f"row {i}: {row[column]}, not {length}"
        for i, (row, length) in enumerate(zip(rows, true, strict=True))
        if row[column] != length
    ]


CHECKS: tuple[Callable[[str, list[Row]], list[str]], ...] = (
    uneven,
    too_little,
    near_duplicates,
    real_addresses,
    broken_python,
    wrong_lengths,
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sample_has_many_rows_of_one_form_that_differ(path: Path) -> None:
    assert path.stem in TEXTS, f"name the columns of {path.name} that are trained on in TEXTS"
    rows = rows_of(path)
    assert {check.__name__: check(path.stem, rows) for check in CHECKS} == {
        check.__name__: [] for check in CHECKS
    }


def test_the_readme_has_a_line_a_file_with_its_columns_and_rows() -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([\w-]+)\.jsonl` \| ([^|]+) \| (\d+) \|", readme, re.MULTILINE)
    said = {name: (columns.split(", "), int(count)) for name, columns, count in lines}
    true = {path.stem: rows_of(path) for path in FILES}
    assert said == {name: (list(rows[0]), len(rows)) for name, rows in true.items()}


def copied(row: Row) -> Row:
    """The row with other first and last words."""
    return {**row, "text": "Another start. " + row["text"] + " Another end."}


@pytest.mark.parametrize(
    ("check", "name", "spoil"),
    [
        (uneven, "openwebtext", lambda rows: [*rows[:-1], {**rows[-1], "url": ""}]),
        (uneven, "openwebtext", lambda rows: [*rows[:-1], {"text": 3}]),
        (too_little, "openwebtext", lambda rows: rows[:39]),
        (too_little, "openwebtext", lambda rows: [{"text": row["text"][:150]} for row in rows]),
        (near_duplicates, "openwebtext", lambda rows: [*rows, copied(rows[7])]),
        (near_duplicates, "stack-notebooks", lambda rows: [*rows, rows[3]]),
        (real_addresses, "openwebtext", lambda rows: [{"text": "see https://host.com/a"}, *rows]),
        (real_addresses, "openwebtext", lambda rows: [{"text": "write to me@host.com"}, *rows]),
        (
            broken_python,
            "automathtext-code",
            lambda rows: [{**rows[0], "text": rows[0]["text"] + "def f(:\n"}],
        ),
        (
            broken_python,
            "stack-notebooks",
            lambda rows: [{"content": rows[0]["content"].replace("import numpy", "import 1")}],
        ),
        (wrong_lengths, "cosmopedia", lambda rows: [copied(rows[0])]),
        (wrong_lengths, "tiny-textbooks", lambda rows: [{**rows[0], "len": 7}]),
    ],
)
def test_a_check_finds_its_fault(
    check: Callable[[str, list[Row]], list[str]],
    name: str,
    spoil: Callable[[list[Row]], list[Row]],
) -> None:
    rows = rows_of(SAMPLES / f"{name}.jsonl")
    assert not check(name, rows)
    assert check(name, spoil(rows))
