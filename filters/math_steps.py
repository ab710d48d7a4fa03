"""Reject worked solutions with a wrong step or an answer that no step gives."""

import re
from typing import ClassVar, NamedTuple

import polars as pl
import sympy

from filters import Example, Filter
from filters.arithmetic import first_value
from filters.equations import Step, plain, steps
from filters.math_tokens import Value, numbers
from filters.texts import body

_MARK = re.compile(
    r"####|\\boxed|\b(?:final\s+answer|answer)\b(?:\s+(?:is|are|equals)\b)?(?=\W)", re.IGNORECASE
)
_HEAD = re.compile(
    r"^\W*(?:solution|steps?|answer|explanation)\b\W*$|^\W*solution\b\W", re.M | re.I
)


class Finding(NamedTuple):
    """Why a solution falls; `detail` quotes the step or the answer."""

    reason: str
    detail: str


class MathSteps(Filter):
    """Reject worked solutions with a wrong step or an answer that does not follow.

    A step is an equation whose left side has an operation, in the text or as `<<a*b=c>>`. Both
    sides are evaluated exactly; the right side may be rounded, or cut, to the decimals it is
    written with, a whole number has to be exact. Equations with variables, times or ratios are
    passed over. The answer stands behind "####", "Answer:", "The answer is" or in a box, else it
    is the last number of the last line; it follows where a step or the last line before it
    states its value, in dollars and percent also a hundredfold of it.
    """

    tags: tuple[str, ...] = ("Math",)
    """Samples with other tags, or none, are kept; an empty list judges every sample."""
    require_answer: bool = True
    """Reject solutions in which no final answer is found."""
    require_steps: bool = False
    """Reject solutions in which no step is found."""

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        found = [finding.reason if finding else None for finding in self._judge(samples)]
        return pl.Series("reason", found, dtype=pl.String)

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        found = [finding.detail if finding else "" for finding in self._judge(samples)]
        return pl.DataFrame({"step": pl.Series(found, dtype=pl.String)})

    def _judge(self, samples: pl.DataFrame) -> list[Finding | None]:
        wanted = pl.Series([not self.tags]) | samples["tag"].is_in(list(self.tags)).fill_null(False)
        texts = zip(wanted, body(samples), strict=True)
        return [self._find(text) if judged else None for judged, text in texts]

    def _find(self, text: str) -> Finding | None:
        found = list(steps(text))
        for step in found:
            if not step.ok:
                return Finding("wrong_step", step.shown[:200])
        if self.require_steps and not found:
            return Finding("no_steps", "")
        answer = final_answer(text)
        if answer is None:
            return Finding("no_answer", "") if self.require_answer else None
        if not _follows(answer, found, text):
            return Finding("answer_does_not_follow", answer.shown)
        return None

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"tag": "Math", "text": "48/2 = <<48/2=24>>24 clips\n48+24 = 72\n#### 72"},
                {"tag": "Math", "text": "48/2 = <<48/2=25>>24 clips\n48+24 = 72\n#### 72"},
                {"tag": "Math", "text": "48/2 = 24 clips\n48+24 = 72\n#### 73"},
                {"tag": "Math", "text": "How many? She sells 48 clips, then half as many."},
                {"tag": "Textbook", "text": "2 + 2 = 5 is false."},
            ),
            reasons=(None, "wrong_step", "answer_does_not_follow", "no_answer", None),
        ),
        Example(
            samples=(
                {"tag": "Math", "text": "5 boxes x $1.20 = $6.00\nThe answer is $6."},
                {"tag": "Math", "text": "10 / 3 = 3.33, so 20% of 10 = 2\nAnswer: 2 litres"},
                {"tag": "Math", "text": "10 / 3 = 3.34\nAnswer: 3.34"},
                {"tag": "Math", "text": "3 pens/box * 4 boxes = 13 pens\nAnswer: 13"},
                {"tag": "Math", "text": "2x + 3 = 11, so x = 4.\nAnswer: x = 4"},
                {"tag": "Math", "text": "They are equal.\nAnswer: yes"},
            ),
            reasons=(None, None, "wrong_step", "wrong_step", None, "no_answer"),
        ),
        Example(
            samples=({"text": "Four.\nAnswer: 4"}, {"text": "9**9**9 = 1\n2 + 2 = 4\n#### 4"}),
            reasons=("no_steps", None),
            knobs={"tags": [], "require_steps": True},
        ),
    )


class Answer(NamedTuple):
    """`before`: the text in front of it, empty where no mark sets the answer off."""

    value: Value
    shown: str
    before: str


def final_answer(text: str) -> Answer | None:
    """The answer that a solution ends with; None where it has no number."""
    marks = list(_MARK.finditer(text))
    for mark in reversed(marks):
        line = text[mark.end() :].lstrip(" \t:*{$\n").partition("\n")[0]
        value = first_value(plain(line.rpartition("=")[2] or line))
        if value is not None:
            return Answer(value, line[:80].strip(), text[: mark.start()])
    lines = [line for line in text.splitlines() if line.strip()]
    if marks or not lines or "?" in lines[-1]:
        return None
    stated = numbers(plain(lines[-1]))
    return Answer(stated[-1], lines[-1][-80:].strip(), "") if stated else None


def _follows(answer: Answer, found: list[Step], text: str) -> bool:
    values = [value for step in found for value in (step.right, step.left)]
    lines = [line for line in answer.before.splitlines() if line.strip()]
    if lines and "?" not in lines[-1]:
        values += numbers(plain(lines[-1]))
    if not found:
        if not answer.before:
            return True
        values += numbers(plain(_solution(answer.before)))
    scales = [1, 100, sympy.Rational(1, 100)] if re.search(r"[$%¢]|\bcents?\b", text) else [1]
    return any(value * scale == answer.value for value in values for scale in scales)


def _solution(text: str) -> str:
    """The text behind the heading "Solution" or behind the question."""
    heads = list(_HEAD.finditer(text))
    return text[heads[-1].end() :] if heads else text.rpartition("?")[2]
