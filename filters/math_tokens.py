"""The tokens of a line of mathematics: numbers as they are written, signs, units, variables."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import sympy

MAX_DIGITS = 24
MAX_UNIT_WORDS = 4

Value = Any
"""A sympy number: Rational, or an expression of roots and pi."""

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
    value: Value = sympy.Integer(0)
    decimals: int = 0
    percent: bool = False


def tokens_of(line: str) -> list[Token]:
    found: list[Token] = []
    match, place = _TOKEN.search(line), 0
    while match:
        kind, text = match.lastgroup or "other", match.group()
        start, place = match.span()
        if kind in ("number", "percent"):
            found.append(_number(match["number"], bool(match["percent"]), start, place))
        elif kind == "word":
            kind = "letter" if _is_variable(text, line[start - 1 : start], found) else kind
            found.append(Token(kind, text, start, place))
        elif kind == "op":
            found.append(Token(kind, _SAME.get(text, text), start, place))
        elif kind == "mixed":
            whole, top, bottom = map(int, re.findall(r"\d+", text))
            if top < bottom:
                found.append(
                    Token("number", text, start, place, whole + sympy.Rational(top, bottom))
                )
            else:  # two numbers that stand side by side: "In 2 6/2 = 3"
                place = start + len(str(whole))
                found.append(_number(line[start:place], False, start, place))
        elif kind != "money":
            found.append(
                Token("other" if kind in ("time", "arrow", "list") else kind, text, start, place)
            )
        match = _TOKEN.search(line, place)
    return _with_operators(found)


def _is_variable(word: str, before: str, found: Sequence[Token]) -> bool:
    """A single letter, but not "a", and not the unit in "5 m" and "60 km/h"."""
    if len(word) > 1:
        return False
    if before.isdigit():
        return True
    kinds = [token.kind for token in found[-2:]]
    unit = kinds[-1:] == ["number"] or (kinds == ["word", "op"] and found[-1].text == "/")
    return word not in "aA" and not (word in "mghslL" and unit)


def _number(text: str, percent: bool, start: int, end: int) -> Token:
    whole, _, decimals = text.replace(",", "").partition(".")
    if len(whole) + len(decimals) > MAX_DIGITS:
        return Token("other", text, start, end)
    digits = int(whole + decimals)
    below = 10 ** len(decimals) * (100 if percent else 1)
    value = sympy.Rational(digits, below) if below > 1 else sympy.Integer(digits)
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


def is_unit(token: Token) -> bool:
    return token.kind == "word" and token.text not in ("sqrt", "pi")


def numbers(text: str) -> list[Value]:
    """The values of all numbers of a text."""
    found = (token for line in text.splitlines() for token in tokens_of(line))
    return [token.value for token in found if token.kind == "number"]
