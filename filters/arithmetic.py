"""Arithmetic in text: tokens, a small grammar, exact values.

Nothing of a text is ever given to `eval` or `sympify`: numbers, `+ - * / ^`, brackets, percents,
square roots, pi and unit words are all that is understood, with bounds on digits and exponents.
What lies outside of it (variables, times of day, ratios) is no arithmetic here.

Rational arithmetic runs on int and `Fraction`, which give what sympy's `Rational` gives in a
fraction of its time; roots, broken powers and pi run on sympy.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

MAX_DIGITS = 24
MAX_BITS = 2048
MAX_EXPONENT = 100
MAX_TOKENS = 80
MAX_UNIT_WORDS = 4

Value = Any
"""An int or a Fraction, or a sympy number where the arithmetic is more than rational."""

_TOKEN = re.compile(
    r"(?P<mixed>\d{1,3}[ ](?:and[ ])?\d{1,3}/\d{1,3}(?![\d.,]*\d))"
    r"|(?P<time>(?:[01]?\d|2[0-4])(?::[0-5]\d){1,2}(?![\d(.]))"
    r"|(?P<list>\d+(?:,\d{1,2})+(?![\d,])|\d+(?:,\d+)*,\d{4,}|\d{4,}(?:,\d{3})+)"
    r"|(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<percent>\s?%)?"
    r"|(?P<word>[A-Za-z]+(?:['’-][A-Za-z]+)*)(?:\.(?=\s*[-+*/×÷=]))?"
    r"|(?P<arrow>[<>!:]=|=>|==>|[-=]+>)"
    r"|(?P<equals>={1,2}|≈)"
    r"|(?P<op>\*\*|//|[-+*/^×÷−–·∙⋅√π])"
    r"|(?P<open>[(\[])|(?P<close>[)\]])"
    r"|(?P<money>[$£€¢])"
    r"|(?P<other>\S)"
)
_SAME = {"×": "*", "·": "*", "∙": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "//": "/"}


class Token(NamedTuple):
    """`kind`: number, word, letter, op, equals, open, close or other; `value` of numbers."""

    kind: str
    text: str
    start: int
    end: int
    value: Value = 0
    decimals: int = 0
    percent: bool = False


class OutOfGrammar(Exception):
    """The tokens are no arithmetic, or larger than what is evaluated."""


def tokens_of(line: str) -> list[Token]:
    found: list[Token] = []
    match, place = _TOKEN.search(line), 0
    while match:
        kind, text = match.lastgroup or "other", match.group()
        start, place = match.span()
        if kind in ("number", "percent"):
            found.append(_number(match["number"], bool(match["percent"]), start, place))
        elif kind == "word":
            adjacent = line[start - 1 : start].isdigit()
            letter = len(text) == 1 and (text not in "aA" or adjacent)
            found.append(Token("letter" if letter else kind, text, start, place))
        elif kind == "op":
            found.append(Token(kind, _SAME.get(text, text), start, place))
        elif kind == "mixed":
            whole, top, bottom = map(int, re.findall(r"\d+", text))
            if top < bottom:
                found.append(Token("number", text, start, place, whole + Fraction(top, bottom)))
            else:  # two numbers that stand side by side: "In 2 6/2 = 3"
                place = start + len(str(whole))
                found.append(_number(line[start:place], False, start, place))
        elif kind != "money":
            found.append(
                Token("other" if kind in ("time", "arrow", "list") else kind, text, start, place)
            )
        match = _TOKEN.search(line, place)
    return _with_operators(found)


def _number(text: str, percent: bool, start: int, end: int) -> Token:
    whole, _, decimals = text.replace(",", "").partition(".")
    if len(whole) + len(decimals) > MAX_DIGITS:
        return Token("other", text, start, end)
    value: Value = int(whole + decimals)
    if decimals:
        value = Fraction(value, 10 ** len(decimals))
    if percent:
        value = Fraction(value) / 100
    return Token("number", text, start, end, value, len(decimals), percent)


def _with_operators(tokens: list[Token]) -> list[Token]:
    """`x` between factors and `of` behind a share mean times."""
    for index in range(1, len(tokens) - 1):
        token, before, after = (
            tokens[index - 1 : index + 2][1],
            tokens[index - 1],
            tokens[index + 1],
        )
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


def is_unit(token: Token) -> bool:
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
                if divide:
                    other = 1 / (Fraction(other) if isinstance(other, int) else other)
                value = self.bounded(value * other)
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
            value = token.value
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
            if is_unit(self.tokens[at]):
                at += 1
            elif self.tokens[at].text == "/" and at + 1 < self.end and is_unit(self.tokens[at + 1]):
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
            return Fraction(base) ** int(exponent)
        if not (exponent.is_Rational and abs(exponent.p) <= MAX_EXPONENT and exponent.q <= 12):
            raise OutOfGrammar
        if not base.is_Rational or base < 0 or max(base.p, base.q).bit_length() > 100:
            raise OutOfGrammar
        if base == 0 and exponent < 0:
            raise ZeroDivisionError
        return sympy.Pow(base, exponent)

    def bounded(self, value: Value) -> Value:
        if self.exact and max(abs(value.numerator), value.denominator).bit_length() > 2 * MAX_BITS:
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
    if not whole:
        end = min(end, start + MAX_TOKENS)
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
