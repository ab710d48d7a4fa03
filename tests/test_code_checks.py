"""Generated code: what is found in a text, what the prompt promised, what a run says."""

import warnings
from pathlib import Path

import polars as pl
import pytest

from data import schema
from data.errors import RecipeError
from filters import code_checks, confinement, filter_source
from filters.code_checks import CodeChecks
from filters.compiled import source_of
from filters.python_code import find_source
from prompts.code import Code

PROMPT = Code().messages(
    {"signature": "def scale(values: list[int], by: int = 2) -> list[int]:", "task": "Scale them."}
)[-1]["content"]
GOOD = '''def scale(values, by=2):
    """Multiply.

    >>> scale([1, 2])
    [2, 4]
    """
    return [value * by for value in values]'''

needs_sandbox = pytest.mark.skipif(bool(confinement.supported()), reason="runs on Linux only")


def samples(*texts: str, prompt: str | None = None, tag: str | None = "Code") -> pl.DataFrame:
    rows = pl.DataFrame(schema.SAMPLES.empty_table()).schema
    made = [{"id": n, "text": text, "prompt": prompt, "tag": tag} for n, text in enumerate(texts)]
    return pl.DataFrame([{**dict.fromkeys(rows), **row} for row in made], schema=rows)


def reasons(judged: CodeChecks, given: pl.DataFrame) -> list[str | None]:
    return judged.reasons(given).to_list()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD, None),
        (f"Here:\n```python\n{GOOD}\n```\nIt scales.", None),
        (f"```\n{GOOD}\n```", None),
        (f"```py\n{GOOD}", None),
        (f"```python\n{GOOD}\n```\n```json\n{{not python}}\n```", None),
        (f"```python\n{GOOD}\n```\n```\n[2, 4\n```", None),
        (f"```python\nimport math\n```\n```python\n{GOOD}\n```", None),
        ("def scale(values, by=2, *, copy=True): ...", None),
        ("async def scale(values, by): ...", None),
        ("class Tool:\n    def scale(self, values, by): ...", "other_parameters"),
        ("scale = len", None),
        ("def scale(values, by, more): ...", "other_parameters"),
        ("def scale(by, values): ...", "other_parameters"),
        ("def scale(*values): ...", "other_parameters"),
        ("def scales(values, by): ...", "not_defined"),
        ("It scales the values by two.", "does_not_parse"),
        ("def scale(values, by):\nreturn 1", "does_not_parse"),
        ("x = '\0'", "does_not_parse"),
        ("x = " + "(" * 5000, "does_not_parse"),
        ("```json\n{}\n```", "no_code"),
        ("", "no_code"),
    ],
)
def test_the_prompts_signature_has_to_be_defined(text: str, found: str | None) -> None:
    assert reasons(CodeChecks(), samples(text, prompt=PROMPT)) == [found]


def test_every_head_at_the_begin_of_a_line_is_a_promise() -> None:
    prompt = (
        "import math\n\n\ndef a(x):\n    pass\n\n\ndef b(\n    y: int,\n) -> int:\n    '''B.'''\n"
    )
    judged = CodeChecks()
    assert reasons(judged, samples("def a(x): ...\ndef b(y): ...", prompt=prompt)) == [None]
    assert reasons(judged, samples("def a(x): ...", prompt=prompt)) == ["not_defined"]
    assert reasons(judged, samples("def b(y): ...\ndef a(): ...", prompt=prompt)) != [None]
    quoted = "Write `def c(x, y)` and a class:\n\nclass Stack:\n"
    assert reasons(judged, samples("def c(x, y): ...", prompt=quoted)) == ["not_defined"]
    assert reasons(judged, samples("class Stack: ...\ndef c(x, y): ...", prompt=quoted)) == [None]
    assert reasons(judged, samples("x = 1", prompt="Please define (it): def is a word.")) == [None]


@pytest.mark.parametrize(
    ("text", "found", "detail"),
    [
        ("import os.path", "banned_import", "os.path"),
        ("def f():\n    from os import path", "banned_import", "os"),
        ("import urllib.parse", None, ""),
        ("from urllib import request", "banned_import", "urllib.request"),
        ("import oslo", None, ""),
        ("e = exec\ne('1')", "banned_call", "exec"),
        ("import re\nre.compile('a')", None, ""),
    ],
)
def test_imports_and_builtins_are_banned(text: str, found: str | None, detail: str) -> None:
    judged, given = CodeChecks(), samples(text)
    assert reasons(judged, given) == [found]
    if found:
        assert judged.figures(given)["detail"].to_list() == [detail]
    assert reasons(CodeChecks(banned_imports=(), banned_calls=()), given) == [None]


def test_scope_and_conversations() -> None:
    judged = CodeChecks()
    assert reasons(judged, samples("no code", tag="Math")) == [None]
    assert reasons(judged, samples("no code", tag=None)) == [None]
    assert reasons(CodeChecks(tags=()), samples("no code", tag=None)) == ["does_not_parse"]
    turns = [
        {"role": "user", "content": "Write it."},
        {"role": "assistant", "content": "```python\nx = (\n```"},
    ]
    given = samples("x").with_columns(
        text=pl.lit(None, pl.String),
        messages=pl.Series([turns], dtype=samples("x")["messages"].dtype),
    )
    assert reasons(judged, given) == ["does_not_parse"]


def test_warnings_about_samples_stay_inside() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        given = samples("x = '\\d'\nassert (x, 'always')\nx is 3")
        assert reasons(CodeChecks(), given) == [None]
    assert caught == []


def test_asserts_and_examples_in_prose_are_found() -> None:
    source = find_source(
        f"```python\n{GOOD}\n```\nCheck:\n`assert scale([1]) == [2]`\nassert it!\n"
    )
    assert source.asserts == ["assert scale([1]) == [2]"]
    assert find_source(f"```python\n{GOOD}\n```\n```\n>>> scale([])\n[]\n```").examples


@needs_sandbox
def test_a_run_judges_by_asserts_else_by_doctests() -> None:
    wrong = GOOD.replace("[2, 4]", "[2, 5]")
    fenced = f"```python\n{GOOD}\n```\n"
    given = samples(
        GOOD,
        wrong,
        f"{wrong}\n\nassert scale([3]) == [6]",
        f"{GOOD}\n\nassert scale([3]) == [7]",
        f"{fenced}So:\n\nassert scale([3]) == [7]\n",
        f"{fenced}```python\n>>> scale([3])\n[7]\n```\n",
        f"{GOOD}\n\ndef test_scale():\n    assert scale([3]) == [7]",
        "def scale(values, by): return values",
        "while True: pass",
    )
    judged = CodeChecks(run=True, seconds=1)
    wanted = [
        *(None, "failed_doctest", None, "failed_assert", "failed_assert", "failed_doctest"),
        *("failed_assert", None, "timed_out"),
    ]
    assert reasons(judged, given) == wanted
    rejected = given.filter(pl.Series(wanted).is_not_null())
    assert "not [2, 5]" in judged.figures(rejected)["detail"][0]
    strict = CodeChecks(run=True, require_tests=True)
    assert reasons(strict, given[7:8]) == ["no_tests"]
    assert reasons(CodeChecks(), given) == [None] * 9


def test_a_recipe_that_runs_code_is_refused_where_nothing_guards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(code_checks, "problem", lambda: "no guard")
    with pytest.raises(RecipeError, match="no guard"):
        CodeChecks(run=True)
    assert CodeChecks().run is False


def test_a_change_of_the_sandbox_is_another_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a filter covers what it reads, and no more."""
    before = filter_source("code_checks"), filter_source("length")
    source_of.cache_clear()
    original = Path.read_text

    def changed(path: Path, *arguments: str, **named: str) -> str:
        more = "# changed\n" if path.name == "sandbox_zygote.py" else ""
        return original(path, *arguments, **named) + more

    monkeypatch.setattr(Path, "read_text", changed)
    assert filter_source("code_checks") != before[0]
    assert filter_source("length") == before[1]
    source_of.cache_clear()
