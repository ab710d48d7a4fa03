"""The outline of a course from its title: units with their points, as JSON."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._outline import check_units, outline_schema, write_outline

SEED = {"course": "Ice", "subject": "physics", "level": "college", "audience": "geologists"}


class Outline(TaskKind):
    """The outline of a course from its title, as JSON: titles of units, each with its points."""

    NEEDS: ClassVar[Mapping[str, type]] = {"course": str, "subject": str}
    """A seed may also have `level` and `audience`."""

    units: int = Field(5, ge=2, le=20)
    """The number of units that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        level = f" The level is {seed['level']}." if seed.get("level") else ""
        readers = f" It is for {seed['audience']}." if seed.get("audience") else ""
        return user(
            f'Plan the course "{seed["course"]}" in {seed["subject"]}.{level}{readers}\n'
            f"Give {self.units} units in teaching order as JSON: a list under the key units, each "
            "with a title and two to four points that name facts, terms or steps. No unit on "
            "exams, projects or reviews."
        )

    def reply_schema(self) -> dict[str, Any]:
        return outline_schema(self.units)

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        units = json.loads(reply)["units"]
        return check_units(units) or Draft(write_outline(str(seed["course"]), units))

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply='{"units": [{"title": "Water", "points": ["bonds", "angle"]}]}',
            text="Ice\n\n1. Water\n- bonds\n- angle",
        ),
        Example(
            seed={"course": "Ice", "subject": "physics"},
            reply='{"units": [{"title": "A b", "points": ["c d"]}, {"title": "E", "points": []}]}',
            text="Ice\n\n1. A b\n- c d\n2. E\n",
        ),
        Example(
            seed=SEED,
            reply='{"units": [{"title": "Ice", "points": []}, {"title": "ice ", "points": []}]}',
            refused="repeats_a_unit",
        ),
        Example(
            seed=SEED,
            reply='{"units": [{"title": "  ", "points": []}]}',
            refused="empty_title",
        ),
        Example(
            seed=SEED,
            reply='{"units": [{"title": "A", "points": ["x", "x", "x"]}]}',
            refused="repeats_points",
        ),
    )
