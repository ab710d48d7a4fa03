"""A course outline without what is not teaching matter: names, dates, exams, projects."""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._outline import check_units, outline_schema, write_outline

SHOWN = """CS 51 Data at sea, spring term, Prof. A. Weller, room 12
Week 1: Welcome, grading and teams. What a tide table is
Week 2: Reading sensors; homework 1 due
Week 3: Midterm exam
Week 4: Averages of noisy readings, gaps in the data"""
EXAMPLE = json.dumps(
    {
        "units": [
            {"title": "Tide tables", "points": ["what a tide table is", "how it is read"]},
            {"title": "Reading sensors", "points": ["readings over time", "sources of error"]},
            {"title": "Noisy data", "points": ["averages of noisy readings", "gaps in the data"]},
        ]
    }
)
_LOGISTICS = re.compile(
    r"\b(?:exam|midterm|quiz|homework|grading|syllabus|office hours|instructor|professor|prof\.|"
    r"deadline|due date|final project|presentations?|review session|guest lecture|week \d+)\b",
    re.IGNORECASE,
)
SEED = {"text": "Ice 101, Prof. Weller\n1. Welcome\n2. Density of water\n3. Exam"}


class OutlineCleaning(TaskKind):
    """A course outline cleaned of names, dates, exams and projects, as JSON."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    """The outline, or the page of a course as it is."""

    units: int = Field(8, ge=2, le=30)
    """How many units may stay."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(self._ask(SHOWN)) + assistant(EXAMPLE) + user(self._ask(str(seed["text"])))

    def _ask(self, page: str) -> str:
        return (
            "Clean this course outline. Keep what is taught, in its order, as units with points; "
            "leave out people, dates, exams, homework, projects and welcomes. Answer as JSON.\n\n"
            f"{page}"
        )

    def reply_schema(self) -> dict[str, Any]:
        return outline_schema(self.units)

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        units = json.loads(reply)["units"]
        if problem := check_units(units):
            return problem
        outline = write_outline(self.topic(seed), units)
        if found := _LOGISTICS.search(outline.partition("\n")[2]):
            return Refusal("keeps_logistics", found.group())
        text = str(seed["text"])
        known = set(re.findall(r"\w{4,}", text.lower()))
        told = [set(re.findall(r"\w{4,}", unit["title"].lower())) for unit in units]
        if sum(not words or bool(words & known) for words in told) * 2 < len(units):
            return Refusal("other_units", ", ".join(unit["title"] for unit in units))
        return Draft(outline)

    def topic(self, seed: Seed) -> str:
        return str(seed.get("course") or str(seed["text"]).strip().partition("\n")[0])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply='{"units": [{"title": "Density of water", "points": ["mass", "volume"]}]}',
            text="Ice 101, Prof. Weller\n\n1. Density of water\n- mass\n- volume",
        ),
        Example(
            seed={**SEED, "course": "Ice"},
            reply='{"units": [{"title": "Water", "points": ["density", "bonds"]}]}',
            text="Ice\n\n1. Water\n- density\n- bonds",
        ),
        Example(
            seed=SEED,
            reply='{"units": [{"title": "Water", "points": ["density", "the final exam"]}]}',
            refused="keeps_logistics",
        ),
        Example(
            seed=SEED,
            reply='{"units": [{"title": "Roman roads", "points": ["stone", "legions"]}]}',
            refused="other_units",
        ),
    )
