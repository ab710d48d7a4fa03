"""E-mail addresses, phone, card and IP numbers in texts."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Literal

import polars as pl

Kind = Literal["email", "card", "phone", "ip"]
KINDS: tuple[Kind, ...] = ("email", "card", "phone", "ip")

_HINT = r"@|\d[\d .()/-]{5,}\d|:[0-9a-fA-F]{0,4}:"
"""What a text with any of them has; the others are not looked at one by one."""
_PATTERNS: dict[Kind, re.Pattern[str]] = {
    "email": re.compile(
        r"(?<![\w.+-])[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_%+-]+){0,5}"
        r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,5}[A-Za-z]{2,24}(?![\w-])"
    ),
    "card": re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])"),
    "phone": re.compile(
        r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
        r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?![\w-])"
    ),
    "ip": re.compile(
        r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4})"
        r"(?![\w:]|\.\d)"
    ),
}
_EXAMPLE_HOSTS = ("example.com", "example.org", "example.net", "example.edu", ".example", ".test")


def _is_private(kind: Kind, found: str) -> bool:
    if kind == "email":
        return not found.lower().endswith(_EXAMPLE_HOSTS)
    if kind == "card":
        return _luhn([int(digit) for digit in found if digit.isdigit()])
    if kind == "ip":
        try:
            return ipaddress.ip_address(found).is_global
        except ValueError:
            return False
    return True


def _luhn(digits: Sequence[int]) -> bool:
    """Luhn's test: every second digit from the right counts twice, with its digits added up."""
    doubled = [d if n % 2 == 0 else 2 * d - 9 * (d > 4) for n, d in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _first(text: str, kinds: Sequence[Kind]) -> str | None:
    for kind in kinds:
        if any(_is_private(kind, match.group()) for match in _PATTERNS[kind].finditer(text)):
            return kind
    return None


def _masked(text: str, kinds: Sequence[Kind]) -> str:
    for kind in kinds:
        text = _PATTERNS[kind].sub(
            lambda match, kind=kind: (  # type: ignore[misc]
                f"[{kind.upper()}]" if _is_private(kind, match.group()) else match.group()
            ),
            text,
        )
    return text


def _hinted(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    rows = pl.DataFrame({"text": texts}).with_row_index("row")
    found = rows.filter(pl.col("text").str.contains(_HINT))
    return found["row"], found["text"]


def find(texts: pl.Series, kinds: Sequence[Kind]) -> pl.Series:
    """The first kind that each text has; null where it has none."""
    rows, hinted = _hinted(texts)
    found = pl.Series([_first(text, kinds) for text in hinted], dtype=pl.String)
    return pl.repeat(None, len(texts), dtype=pl.String, eager=True).scatter(rows, found)


def mask(texts: pl.Series, kinds: Sequence[Kind]) -> pl.Series:
    rows, hinted = _hinted(texts)
    masked = pl.Series([_masked(text, kinds) for text in hinted], dtype=pl.String)
    return texts.clone().scatter(rows, masked)
