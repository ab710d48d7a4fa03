"""Arithmetic in text: a small grammar, exact values.

Nothing of a text is ever given to `eval` or `sympify`: numbers, `+ - * / ^`, brackets, percents,
square roots, pi and unit words are all that is understood, with bounds on digits and exponents.
What lies outside of it (variables, times of day, ratios) is no arithmetic here.
The values are sympy's: exact rationals, roots and pi.
"""

from collections.abc import Sequence
from typing import NamedTuple

import sympy

from filters.math_tokens import MAX_UNIT_WORDS, Token, Value, is_unit, tokens_of

MAX_BITS = 4096
MAX_EXPONENT = 100
MAX_ROOT = 12
MAX_ROOT_BITS = 128
MAX_TOKENS = 80


class OutOfGrammar(Exception):
    """The tokens are no arithmetic, or larger than what is evaluated."""


class _Parser:
    """Recursive descent over a line's tokens."""

    def __init__(self, tokens: Sequence[Token], at: int, end: int) -> None:
        self.tokens, self.at, self.end = tokens, at, end
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
            self.units()
            return token.value
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
        if not (base.is_Rational and exponent.is_Rational):
            raise OutOfGrammar
        if abs(exponent.p) > MAX_EXPONENT or exponent.q > MAX_ROOT:
            raise OutOfGrammar
        if _bits(base) * abs(exponent.p) > (MAX_BITS if exponent.q == 1 else MAX_ROOT_BITS):
            raise OutOfGrammar
        if base < 0 and exponent.q > 1:
            raise OutOfGrammar
        if base == 0 and exponent < 0:
            raise ZeroDivisionError
        return sympy.Pow(base, exponent)

    def bounded(self, value: Value) -> Value:
        if value.is_Rational and _bits(value) > MAX_BITS:
            raise OutOfGrammar
        return value


def _bits(value: Value) -> int:
    return int(max(abs(value.p).bit_length(), value.q.bit_length()))


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
    value = parser.sum()
    if whole and parser.at != end:
        raise OutOfGrammar
    return Expression(value, parser.at, parser.operations)


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
