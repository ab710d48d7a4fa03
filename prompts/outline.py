"""The outline of a course from its title: units with their points, as JSON."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._outline import check_units, outline_schema, write_outline

SHOWN = {"course": "Keeping bees", "subject": "farming", "level": "beginners"}
EXAMPLE = json.dumps(
    {
        "units": [
            {"title": "The colony", "points": ["queen, workers, drones", "a year in the hive"]},
            {"title": "Hives and tools", "points": ["kinds of hives", "smoker and frame lifter"]},
            {"title": "Swarms", "points": ["why bees swarm", "queen cells", "dividing a colony"]},
            {"title": "Honey", "points": ["when a comb is ripe", "spinning and storing"]},
        ]
    }
)
SEED = {"course": "Ice", "subject": "physics", "level": "college", "audience": "geologists"}


class Outline(TaskKind):
    """The outline of a course from its title, as JSON: titles of units, each with its points."""

    NEEDS: ClassVar[Mapping[str, type]] = {"course": str, "subject": str}
    """A seed may also have `level` and `audience`."""

    units: int = Field(5, ge=2, le=20)
    """The number of units that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(self._ask(SHOWN)) + assistant(EXAMPLE) + user(self._ask(seed))

    def _ask(self, seed: Seed) -> str:
        level = f" The level is {seed['level']}." if seed.get("level") else ""
        readers = f" It is for {seed['audience']}." if seed.get("audience") else ""
        return (
            f'Plan the course "{seed["course"]}" in {seed["subject"]}.{level}{readers}\n'
            f"Give {self.units} units in teaching order as JSON, each with a short title and two "
            "to four points that name facts, terms or steps. Each title and point is new. No unit "
            "on exams, projects or reviews."
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
