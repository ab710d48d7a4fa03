"""Outlines: the JSON that is asked for, the text that is kept of it, and back."""

import re
from typing import Any

from prompts import Refusal
from prompts._text import listed

Unit = tuple[str, list[str]]

_TITLE = re.compile(r"\d+[.)] +(.+)")


def outline_schema(units: int) -> dict[str, Any]:
    """The JSON schema of two to `units` units, each with a title and two to four points."""
    short = {"type": "string", "minLength": 3, "maxLength": 80}
    points = {"type": "array", "items": short, "minItems": 2, "maxItems": 4}
    unit = {
        "type": "object",
        "properties": {"title": short, "points": points},
        "required": ["title", "points"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"units": {"type": "array", "items": unit, "minItems": 2, "maxItems": units}},
        "required": ["units"],
        "additionalProperties": False,
    }


def check_units(units: list[dict[str, Any]]) -> Refusal | None:
    titles = [str(unit["title"]).strip().casefold() for unit in units]
    if any(not title for title in titles):
        return Refusal("empty_title")
    if len(set(titles)) < len(titles):
        return Refusal("repeats_a_unit")
    points = [str(point).strip().casefold() for unit in units for point in unit["points"]]
    if 2 * len(set(points)) < len(points):
        return Refusal("repeats_points", f"{len(set(points))} of {len(points)} points differ")
    return None


def write_outline(course: str, units: list[dict[str, Any]]) -> str:
    lines = [f"{n}. {unit['title']}\n{listed(unit['points'])}" for n, unit in enumerate(units, 1)]
    return f"{course}\n\n" + "\n".join(lines)


def read_outline(text: str) -> tuple[str, list[Unit]]:
    """The course and its units of an outline that `write_outline` wrote; no units where the text
    has another form."""
    head, _, rest = text.strip().partition("\n")
    units: list[Unit] = []
    for line in rest.splitlines():
        if found := _TITLE.fullmatch(line.strip()):
            units.append((found[1], []))
        elif line.strip() and units:
            units[-1][1].append(line.strip().removeprefix("- "))
    return head, units
