"""The outline of a short course: titles of units with their points, as JSON."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._text import listed


class Outline(TaskKind):
    """The outline of a short course as JSON: titles of units, each with its points."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str, "focus": list}

    units: int = Field(5, ge=2, le=20)
    """The number of units that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f'Plan a short course in {seed["category"]} on "{seed["topic"]}". It has to cover:\n'
            f"{listed(seed['focus'])}\n"
            f"Give {self.units} units in teaching order as JSON: a list under the key units, each "
            "with a title and two to four points that name facts, terms or steps."
        )

    def reply_schema(self) -> dict[str, Any]:
        short = {"type": "string", "minLength": 3, "maxLength": 120}
        points = {"type": "array", "items": short, "minItems": 2, "maxItems": 4}
        unit = {
            "type": "object",
            "properties": {"title": short, "points": points},
            "required": ["title", "points"],
            "additionalProperties": False,
        }
        listed_units = {"type": "array", "items": unit, "minItems": 2, "maxItems": self.units}
        return {
            "type": "object",
            "properties": {"units": listed_units},
            "required": ["units"],
            "additionalProperties": False,
        }

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        units = json.loads(reply)["units"]
        titles = [unit["title"].strip().casefold() for unit in units]
        if len(set(titles)) < len(titles):
            return Refusal("repeats_a_unit")
        if any(not title for title in titles):
            return Refusal("empty_title")
        lines = [f"{n}. {u['title']}\n{listed(u['points'])}" for n, u in enumerate(units, 1)]
        return Draft(f"{seed['topic']}\n\n" + "\n".join(lines))

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed={"topic": "Ice", "category": "Physics", "focus": ["density"]},
            reply='{"units": [{"title": "Water", "points": ["bonds", "angle"]}]}',
            text="Ice\n\n1. Water\n- bonds\n- angle",
        ),
        Example(
            seed={"topic": "Ice", "category": "Physics", "focus": ["density"]},
            reply='{"units": [{"title": "A b", "points": ["c d"]}, {"title": "E", "points": []}]}',
            text="Ice\n\n1. A b\n- c d\n2. E\n",
        ),
        Example(
            seed={"topic": "Ice", "category": "Physics", "focus": ["density"]},
            reply='{"units": [{"title": "Ice", "points": []}, {"title": "ice ", "points": []}]}',
            refused="repeats_a_unit",
        ),
        Example(
            seed={"topic": "Ice", "category": "Physics", "focus": ["density"]},
            reply='{"units": [{"title": "  ", "points": []}]}',
            refused="empty_title",
        ),
    )
