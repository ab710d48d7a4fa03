"""The equations of a worked solution: where they are in prose, and whether they hold."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sympy

from filters.arithmetic import Expression, OutOfGrammar, evaluate
from filters.math_tokens import MAX_UNIT_WORDS, Token, Value, is_unit, tokens_of

_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\sqrt\s*\{([^{}]*)\}"), r"sqrt(\1)"),
    (re.compile(r"\\(?:text|mathrm|mathbf|boxed)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:times|cdot|ast)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\approx\b"), "≈"),
    (re.compile(r"\\pi\b"), "π"),
    (re.compile(r"\\(?:left|right)\b|\\[()\[\],;!]"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
)
_BOLD = re.compile(r"\*\*(?![\s]*[\d(.$-])|(?<![\d)\s])\*\*|(?<!\S)\*\*|__")
_BULLET = re.compile(r"^\s*(?:[-*•+]|\(?\d{1,2}[.)])\s+", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One `left = right` of a text. `ok`: whether it holds; `right` is what it claims."""

    shown: str
    ok: bool
    left: Value
    right: Value


def plain(text: str) -> str:
    """LaTeX and Markdown as plain arithmetic; bullets and numbering removed."""
    if "\\" in text:
        for pattern, replaced in _LATEX:
            text = pattern.sub(replaced, text)
    if "**" in text or "__" in text:
        text = _BOLD.sub("", text)
    return _BULLET.sub("", text)


def steps(text: str) -> Iterator[Step]:
    """The equations of a text in their order, `<<a*b=c>>` among them."""
    for line in plain(text).splitlines():
        if "=" not in line and "≈" not in line:
            continue
        pieces = [line]
        if "<<" in line:
            pieces = [_ANNOTATION.sub(" ", line), *_ANNOTATION.findall(line)]
        for piece in pieces:
            yield from _equations(piece)


_ANNOTATION = re.compile("<<([^<>]*)>>")


def _equations(line: str) -> Iterator[Step]:
    tokens = tokens_of(line)
    signs = [index for index, token in enumerate(tokens) if token.kind == "equals"]
    lows = [0, *(index + 1 for index in signs)]
    highs = [*signs[1:], len(tokens)]
    for low, sign, high in zip(lows, signs, highs, strict=False):
        start = _left_start(tokens, low, sign)
        if start is None:
            continue
        try:
            left = evaluate(tokens, start, sign)
            right = evaluate(tokens, sign + 1, high, whole=False)
        except OutOfGrammar:
            continue
        except ZeroDivisionError:
            yield Step(line[tokens[start].start :].strip(), False, None, None)
            continue
        if not _is_claim(tokens, start, left, right):
            continue
        shown = line[max(0, tokens[start].start - 2) : tokens[right.end - 1].end]
        yield Step(
            shown[-(tokens[right.end - 1].end - tokens[start].start) :],
            _agree(tokens[sign + 1 : right.end], shown, left.value, right.value),
            left.value,
            right.value,
        )


def _left_start(tokens: Sequence[Token], low: int, end: int) -> int | None:
    """Where the expression in front of an equals sign begins; None where there is none."""
    at = end
    while True:
        start = _before_value(tokens, low, _before_units(tokens, low, at))
        if start is None or start == low:
            return start
        at, before = start, tokens[start - 1]
        if before.kind == "letter" and before.end == tokens[at].start:
            return None
        if before.kind == "open" and at - 2 >= low and tokens[at - 2].kind == "op":
            return None
        if before.kind in ("number", "close") and tokens[at].kind == "open":
            continue
        if before.kind != "op":
            return at
        at -= 1
        if before.text in ("+", "-") and at > low and tokens[at - 1].kind == "op":
            at -= 1  # 5 - -3
        elif before.text in ("+", "-") and _is_sign(tokens, low, at):
            return at


def _before_value(tokens: Sequence[Token], low: int, at: int) -> int | None:
    """Where the number, bracket or root that ends at `at` begins."""
    depth = 0
    while at > low:
        at -= 1
        depth += {"close": 1, "open": -1}.get(tokens[at].kind, 0)
        if depth == 0:
            break
    else:
        return None
    if tokens[at].kind not in ("number", "open") and tokens[at].text not in ("π", "pi"):
        return None
    while at > low and tokens[at - 1].text in ("√", "sqrt"):
        at -= 1
    return at


def _is_sign(tokens: Sequence[Token], low: int, at: int) -> bool:
    """Whether a plus or minus belongs to the number behind it: "is -5", not "x - 5"."""
    value = _before_units(tokens, low, at)
    if value > low and tokens[value - 1].kind in ("number", "close"):
        return False
    if at == low:
        return True
    return tokens[at - 1].end < tokens[at].start and tokens[at].end == tokens[at + 1].start


def _before_units(tokens: Sequence[Token], low: int, at: int) -> int:
    words = 0
    while at > low and words < 2 * MAX_UNIT_WORDS:
        slash = words and tokens[at - 1].text == "/" and is_unit(tokens[at])
        if not (slash or is_unit(tokens[at - 1])):
            break
        at -= 1
        words += 1
    return at


def _is_claim(tokens: Sequence[Token], start: int, left: Expression, right: Expression) -> bool:
    """Whether there is arithmetic to judge: "60 minutes = 1 hour" and "300 = 20x" have none."""
    place = right.end
    while place < len(tokens) and tokens[place].kind == "op":
        place += 1
    if place < len(tokens) and tokens[place].kind == "letter":
        adjacent = tokens[place - 1].end == tokens[place].start
        if adjacent or tokens[place].text not in "AI":
            return False
    if left.operations:
        return True
    chained = start > 0 and tokens[start - 1].kind == "equals"
    return chained and not any(token.kind == "word" for token in tokens[start : right.end])


def _agree(claimed: Sequence[Token], shown: str, left: Value, right: Value) -> bool:
    """Whether both sides are the same number, the right one rounded or cut to its decimals.

    A percent sign may stand for a hundredth or be a name only ("15 / 90 * 100 = 16.67%"), and a
    sum in dollars may be told in cents.
    """
    numbers = [token for token in claimed if token.kind == "number"]
    unit = sympy.Integer(0)
    if len(numbers) == 1 and numbers[0].decimals:
        unit = sympy.Rational(1, 10 ** numbers[0].decimals * (100 if numbers[0].percent else 1))
    scales = [1]
    if "%" in shown or ("cent" in shown and "$" in shown):
        scales += [100, sympy.Rational(1, 100)]
    return any(_near(left * scale, right, unit) for scale in scales)


def _near(left: Value, right: Value, unit: Value) -> bool:
    """Whether `right` is `left` rounded to `unit`, or cut to it."""
    if left == right:
        return True
    far = left - right
    if not far.is_Rational:
        far = sympy.N(far, 30)
        return bool(far.is_real and abs(far) <= max(unit / 2, 1e-12))
    return bool(abs(far) <= unit / 2 or 0 < (far if left > 0 else -far) < unit)
