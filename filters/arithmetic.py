"""Equations in worked solutions: found in prose, parsed and evaluated exactly.

Nothing of a text is ever given to `eval` or `sympify`: a small grammar of numbers, `+ - * / ^`,
brackets, percents, square roots and unit words is all that is understood, with bounds on digits
and exponents. What lies outside of it (variables, times of day, ratios) is no equation here.

Rational arithmetic runs on `Fraction`, which gives what sympy's `Rational` gives at a twentieth
of the time; roots, broken powers and pi run on sympy.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

MAX_DIGITS = 24
MAX_BITS = 2048
MAX_EXPONENT = 100
MAX_TOKENS = 80
MAX_UNIT_WORDS = 4

Value = Any
"""A Fraction, or a sympy number where the arithmetic is more than rational."""

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

_TOKEN = re.compile(
    r"(?P<mixed>\d{1,4}[ ](?:and[ ])?\d{1,3}/\d{1,3}(?![\d.,]*\d))"
    r"|(?P<time>\d+(?::\d+)+)"
    r"|(?P<list>\d+(?:,\d{1,2})+(?![\d,])|\d+(?:,\d+)*,\d{4,}|\d{4,}(?:,\d{3})+)"
    r"|(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<percent>\s?%)?"
    r"|(?P<word>[A-Za-z]+(?:['’-][A-Za-z]+)*\.?(?=\s*[-+*/×÷=])|[A-Za-z]+(?:['’-][A-Za-z]+)*)"
    r"|(?P<arrow>[<>!:]=|=>|==>|[-=]+>)"
    r"|(?P<equals>={1,2}|≈)"
    r"|(?P<op>\*\*|[-+*/^×÷−–·∙⋅√π])"
    r"|(?P<open>[(\[])|(?P<close>[)\]])"
    r"|(?P<money>[$£€¢])"
    r"|(?P<other>\S)"
)
_SAME = {"×": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "^": "**"}


class Token(NamedTuple):
    """`kind`: number, word, letter, op, equals, open, close or other; `value` of numbers."""

    kind: str
    text: str
    start: int
    end: int
    value: Fraction = Fraction(0)
    decimals: int = 0
    percent: bool = False


class OutOfGrammar(Exception):
    """The tokens are no arithmetic, or larger than what is evaluated."""


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


def tokens_of(line: str) -> list[Token]:
    found: list[Token] = []
    for match in _TOKEN.finditer(line):
        kind = match.lastgroup or "other"
        text = match.group()
        start, end = match.span()
        if kind in ("number", "percent"):
            found.append(_number(match.group("number"), bool(match.group("percent")), start, end))
        elif kind == "mixed":
            whole, top, bottom = map(int, re.findall(r"\d+", text))
            if bottom > top > 0:
                found.append(Token("number", text, start, end, whole + Fraction(top, bottom)))
            else:
                found.append(Token("other", text, start, end))
        elif kind == "op":
            found.append(Token(kind, _SAME.get(text, text), start, end))
        elif kind == "word":
            letter = len(text) == 1 and (text not in "aA" or line[start - 1 : start].isdigit())
            found.append(Token("letter" if letter else kind, text, start, end))
        elif kind != "money":
            found.append(Token("other" if kind in ("time", "arrow", "list") else kind, text, start, end))
    return _with_operators(found)


def _number(text: str, percent: bool, start: int, end: int) -> Token:
    digits = text.replace(",", "")
    if len(digits) > MAX_DIGITS:
        return Token("other", text, start, end)
    decimals = len(digits.partition(".")[2])
    value = Fraction(int(digits.replace(".", "")), 10**decimals)
    return Token("number", text, start, end, value, decimals, percent)


def _with_operators(tokens: list[Token]) -> list[Token]:
    """`x` between factors and `of` behind a share mean times."""
    for index in range(1, len(tokens) - 1):
        token, before, after = tokens[index - 1 : index + 2][1], tokens[index - 1], tokens[index + 1]
        factor = after.kind in ("number", "open")
        if token.kind == "letter" and token.text in "xX":
            if factor and before.kind in ("number", "close", "word"):
                tokens[index] = token._replace(kind="op", text="*")
        elif token.text == "of" and factor and before.kind == "number":
            share = before.percent or (index > 2 and tokens[index - 2].text == "/")
            if share or " " in before.text or "/" in before.text:
                tokens[index] = token._replace(kind="op", text="*")
    return tokens


class _NeedsSympy(Exception):
    pass


def _is_word(token: Token) -> bool:
    return token.kind == "word" and token.text not in ("sqrt", "pi")


class _Parser:
    """Recursive descent over a line's tokens; `exact` on Fractions, else on sympy."""

    def __init__(self, tokens: Sequence[Token], at: int, end: int, exact: bool = True) -> None:
        self.tokens, self.at, self.end, self.exact = tokens, at, end, exact
        self.depth = self.operations = 0

    def kind(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place].kind if place < self.end else "end"

    def text(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place].text if place < self.end else ""

    def sum(self) -> Value:
        value = self.product()
        while self.text() in ("+", "-") and self.starts_factor(1):
            minus = self.text() == "-"
            self.at += 1
            self.operations += 1
            other = self.product()
            value = self.bounded(value - other if minus else value + other)
        return value

    def product(self) -> Value:
        value = self.factor()
        while True:
            if self.text() in ("*", "/") and self.starts_factor(1):
                divide = self.text() == "/"
                self.at += 1
                self.operations += 1
                other = self.factor()
                if divide and other == 0:
                    raise ZeroDivisionError
                value = self.bounded(value / other if divide else value * other)
            elif self.kind() == "open" and self.tokens[self.at - 1].kind in ("number", "close"):
                self.operations += 1
                value = self.bounded(value * self.factor())
            else:
                return value

    def starts_factor(self, ahead: int) -> bool:
        while self.text(ahead) in ("-", "+"):
            ahead += 1
        kind = self.kind(ahead)
        root = self.text(ahead) in ("√", "π", "sqrt", "pi")
        return kind in ("number", "open") or root

    def factor(self) -> Value:
        if self.text() in ("-", "+"):
            sign = -1 if self.text() == "-" else 1
            self.at += 1
            return sign * self.factor()
        value = self.atom()
        if self.text() == "**" and self.starts_factor(1):
            self.at += 1
            self.operations += 1
            value = self.power(value, self.factor())
        return value

    def atom(self) -> Value:
        token = self.tokens[self.at] if self.at < self.end else None
        if token is None:
            raise OutOfGrammar
        self.at += 1
        if token.kind == "number":
            value = token.value / 100 if token.percent else token.value
            self.units()
            return value if self.exact else sympy.Rational(value.numerator, value.denominator)
        if token.kind == "open":
            self.depth += 1
            if self.depth > 20:
                raise OutOfGrammar
            value = self.sum()
            if self.kind() != "close":
                raise OutOfGrammar
            self.at += 1
            self.depth -= 1
            self.units()
            return value
        if token.text in ("π", "pi", "√", "sqrt"):
            if self.exact:
                raise _NeedsSympy
            if token.text in ("π", "pi"):
                return sympy.pi
            self.operations += 1
            return self.power(self.atom(), sympy.Rational(1, 2))
        raise OutOfGrammar

    def units(self) -> None:
        """Pass over "square feet", "/hour" and "per day" behind a value."""
        at = self.at
        while at < self.end and at - self.at <= 2 * MAX_UNIT_WORDS:
            if _is_word(self.tokens[at]):
                at += 1
            elif self.tokens[at].text == "/" and at + 1 < self.end and _is_word(self.tokens[at + 1]):
                at += 2
            else:
                break
        if at - self.at <= 2 * MAX_UNIT_WORDS:
            self.at = at

    def power(self, base: Value, exponent: Value) -> Value:
        if self.exact:
            if exponent.denominator != 1:
                raise _NeedsSympy
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(exponent) > MAX_EXPONENT or bits * abs(exponent) > MAX_BITS:
                raise OutOfGrammar
            if base == 0 and exponent < 0:
                raise ZeroDivisionError
            return base ** int(exponent)
        if not (exponent.is_Rational and abs(exponent.p) <= MAX_EXPONENT and exponent.q <= 12):
            raise OutOfGrammar
        if not base.is_Rational or base < 0 or max(base.p, base.q).bit_length() > 100:
            raise OutOfGrammar
        if base == 0 and exponent < 0:
            raise ZeroDivisionError
        return sympy.Pow(base, exponent)

    def bounded(self, value: Value) -> Value:
        if isinstance(value, Fraction) and value.denominator.bit_length() + abs(
            value.numerator
        ).bit_length() > 2 * MAX_BITS:
            raise OutOfGrammar
        return value


class Expression(NamedTuple):
    """`end`: the token behind it; `operations`: how many it has, none in a mere number."""

    value: Value
    end: int
    operations: int


def evaluate(tokens: Sequence[Token], start: int, end: int, whole: bool = True) -> Expression:
    """The expression at `start`.

    Raises OutOfGrammar, also where `whole` is set and the expression stops before `end`, and
    ZeroDivisionError.
    """
    if end - start > MAX_TOKENS:
        raise OutOfGrammar
    parser = _Parser(tokens, start, end)
    try:
        value = parser.sum()
    except _NeedsSympy:
        parser = _Parser(tokens, start, end, exact=False)
        value = parser.sum()
    if whole and parser.at != end:
        raise OutOfGrammar
    return Expression(value, parser.at, parser.operations)


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
        at = _before_units(tokens, low, at)
        if at == low:
            return None
        if tokens[at - 1].kind == "close":
            depth = 0
            while at > low:
                at -= 1
                depth += {"close": 1, "open": -1}.get(tokens[at].kind, 0)
                if depth == 0:
                    break
            if depth:
                return None
        elif tokens[at - 1].kind == "number" or tokens[at - 1].text in ("π", "pi"):
            at -= 1
        else:
            return None
        while at > low and tokens[at - 1].text in ("√", "sqrt"):
            at -= 1
        if at == low:
            return at
        before = tokens[at - 1]
        if before.kind == "letter" and before.end == tokens[at].start:
            return None
        if before.kind in ("number", "close") and tokens[at].kind == "open":
            continue
        if before.kind == "open" and at - 2 >= low and tokens[at - 2].kind == "op":
            return None
        if before.kind != "op":
            return at
        at -= 1
        if before.text in ("+", "-") and _is_sign(tokens, low, at):
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
        if _is_word(tokens[at - 1]):
            at -= 1
        elif words and tokens[at - 1].text == "/" and _is_word(tokens[at]):
            at -= 1
        else:
            break
        words += 1
    return at


def _is_claim(
    tokens: Sequence[Token], start: int, left: Expression, right: Expression
) -> bool:
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
    unit = Fraction(0)
    if len(numbers) == 1 and numbers[0].decimals:
        unit = Fraction(1, 10 ** numbers[0].decimals * (100 if numbers[0].percent else 1))
    scales = [Fraction(1)]
    if "%" in shown or ("cent" in shown and "$" in shown):
        scales += [Fraction(100), Fraction(1, 100)]
    return any(_near(left * scale, right, unit) for scale in scales)


def _near(left: Value, right: Value, unit: Fraction) -> bool:
    """Whether `right` is `left` rounded to `unit`, or cut to it."""
    if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        far = sympy.N(sympy.sympify(left) - sympy.sympify(right), 30)
        return bool(abs(far) <= max(float(unit) / 2, 1e-12))
    far = left - right
    if abs(far) <= unit / 2:
        return True
    return 0 < far * (1 if left > 0 else -1) < unit


def numbers(text: str) -> list[Value]:
    """The values of all numbers of a text."""
    found = (token for line in text.splitlines() for token in tokens_of(line))
    return [token.value for token in found if token.kind == "number"]


def first_value(line: str) -> Value | None:
    """The first number of a line or the expression that begins with it: 3/4, 2 * pi, -5."""
    tokens = tokens_of(line)
    for start, token in enumerate(tokens):
        if token.kind in ("number", "open") or token.text in ("-", "√", "sqrt", "π"):
            try:
                return evaluate(tokens, start, len(tokens), whole=False).value
            except (OutOfGrammar, ZeroDivisionError):
                continue
    return None
