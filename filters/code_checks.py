"""Reject code that does not parse, breaks its signature, imports what it should not, or fails."""

import ast
from typing import ClassVar, NamedTuple

import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from data.errors import RecipeError
from filters import Example, Filter
from filters.python_code import (
    Source,
    broken_promise,
    calls,
    find_source,
    imports,
    parse,
    promised,
    quiet_syntax_warnings,
)
from filters.sandbox import Limits, Program, problem, run_programs
from filters.texts import body

BANNED = (
    *("ctypes", "fcntl", "ftplib", "http.client", "http.server", "importlib", "marshal"),
    *("multiprocessing", "os", "pickle", "pty", "requests", "resource", "runpy", "shutil"),
    *("signal", "smtplib", "socket", "socketserver", "subprocess", "urllib.request", "webbrowser"),
)


class Finding(NamedTuple):
    """Why a sample falls; `detail` says where."""

    reason: str
    detail: str


class CodeChecks(Filter):
    """Reject code that does not parse, breaks its signature, imports what it should not, or fails.

    The code is the sample's fenced Python blocks, or all of its text. A signature that stands in
    the prompt has to be defined, with its parameters. With `run` the blocks are executed in the
    sandbox of filters/sandbox.py, with what they assert (functions named test... are called), or
    with their doctests where nothing is asserted; asserts in the text around them count.
    """

    tags: tuple[str, ...] = ("Code",)
    """Samples with other tags, or none, are kept; an empty list judges every sample."""
    banned_imports: tuple[str, ...] = BANNED
    """With all that lies below: "os" bans os.path, "urllib.request" leaves urllib.parse."""
    banned_calls: tuple[str, ...] = ("__import__", "breakpoint", "compile", "exec")
    """Builtins that may not be named."""
    run: bool = False
    """Execute it, in the sandbox."""
    require_tests: bool = False
    """Reject what has neither asserts nor doctests; with `run` only."""
    seconds: int = Field(default=5, ge=1)
    """Of processor time for each sample that is run, and again of sleep."""
    memory_mb: int = Field(default=1024, ge=256)
    """Address space of each sample that is run."""

    _found: dict[tuple[str, str | None], Finding] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _can_run(self) -> "CodeChecks":
        if self.run and (why := problem()):
            raise RecipeError(
                f"generated code cannot be run safely here: {why}",
                where="code_checks",
                fix="leave `run` out, or build on Linux",
            )
        return self

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        found = self._judge(samples)
        for key, finding in zip(self._keys(samples), found, strict=True):
            if finding:
                self._found[key] = finding
        reasons = [finding.reason if finding else None for finding in found]
        return pl.Series("reason", reasons, dtype=pl.String)

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        """What `reasons` found is given out once, so that nothing is run twice."""
        found = [self._found.pop(key, None) for key in self._keys(samples)]
        if not all(found):
            found = self._judge(samples)
        details = [finding.detail if finding else "" for finding in found]
        return pl.DataFrame({"detail": pl.Series(details, dtype=pl.String)})

    def _keys(self, samples: pl.DataFrame) -> list[tuple[str, str | None]]:
        return list(zip(body(samples), samples["prompt"], strict=True))

    def _judge(self, samples: pl.DataFrame) -> list[Finding | None]:
        quiet_syntax_warnings()
        found: list[Finding | None] = [None] * len(samples)
        programs: dict[int, Program] = {}
        wanted = pl.Series([not self.tags]) | samples["tag"].is_in(list(self.tags)).fill_null(False)
        for number, (text, prompt) in enumerate(self._keys(samples)):
            if not wanted[number]:
                continue
            result = self._read(find_source(text), prompt or "")
            if isinstance(result, Finding):
                found[number] = result
            elif self.run:
                programs[number] = result
        limits = Limits(seconds=self.seconds, idle_seconds=self.seconds, memory_mb=self.memory_mb)
        outcomes = run_programs(list(programs.values()), limits)
        for number, outcome in zip(programs, outcomes, strict=True):
            if outcome.reason:
                found[number] = Finding(outcome.reason, outcome.detail)
        return found

    def _read(self, source: Source, prompt: str) -> Finding | Program:
        """What is wrong with the code as it stands, or the program that would test it."""
        if not source.blocks:
            return Finding("no_code", "")
        trees = []
        for code in source.blocks:
            tree = parse(code)
            if isinstance(tree, str):
                return Finding("does_not_parse", tree)
            trees.append(tree)
        for tree in trees:
            for name in imports(tree):
                if any(name == ban or name.startswith(f"{ban}.") for ban in self.banned_imports):
                    return Finding("banned_import", name)
            for name in calls(tree):
                if name in self.banned_calls:
                    return Finding("banned_call", name)
        for wanted in promised(prompt):
            broken = broken_promise(wanted, trees)
            if broken:
                return Finding(*broken)
        return self._program(source, trees)

    def _program(self, source: Source, trees: list[ast.Module]) -> Finding | Program:
        asserted = bool(source.asserts) or any(
            isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree)
        )
        examples = bool(source.examples) or any(">>>" in code for code in source.blocks)
        if self.run and self.require_tests and not asserted and not examples:
            return Finding("no_tests", "")
        return Program(
            (*source.blocks, *source.asserts),
            texts=tuple(source.examples),
            doctests=examples and not asserted,
        )

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"tag": "Code", "text": "def twice(x):\n    return 2 * x"},
                {"tag": "Code", "text": "Here:\n```python\ndef twice(x):\n    return 2 * x\n```\n"},
                {"tag": "Code", "text": "def twice(x:\n    return 2 * x"},
                {"tag": "Code", "text": "import os\n\nos.remove('a')"},
                {"tag": "Code", "text": "from urllib import parse, request"},
                {"tag": "Code", "text": "exec('x = 1')"},
                {"tag": "Code", "text": "```text\nnothing\n```"},
                {"tag": "Textbook", "text": "def is a keyword"},
            ),
            reasons=(
                *(None, None, "does_not_parse", "banned_import", "banned_import"),
                *("banned_call", "no_code", None),
            ),
        ),
        Example(
            samples=tuple(
                {
                    "tag": "Code",
                    "prompt": "Write:\n\ndef add(a: int, b: int) -> int:\n\nIt adds.",
                    **row,
                }
                for row in (
                    {"text": "def add(a, b):\n    return a + b"},
                    {"text": "def add(a, b, c=0):\n    return a + b + c"},
                    {"text": "def plus(a, b):\n    return a + b"},
                    {"text": "def add(x, y):\n    return x + y"},
                    {"text": "def add(a):\n    return a"},
                )
            ),
            reasons=(None, None, "not_defined", "other_parameters", "other_parameters"),
        ),
    )
