"""A unit of a generated outline: use it with `seeds: {from: ...}`."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._audiences import AUDIENCES, Audience
from prompts._openings import FACTUAL, NO_CLICHES, pick
from prompts._outline import read_outline
from prompts._reply import clean
from prompts._text import listed

SEED = {
    "text": "Ice\n\n1. Water\n- bonds between molecules\n- the angle of a bond\n2. Ice\n- rings"
}


class CourseText(TaskKind):
    """The text of one unit of a generated outline, building on the units before it."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    TAG: ClassVar[str | None] = "Textbook"

    unit: int = Field(1, ge=1)
    """Which unit of the outline; of a shorter outline the last one."""
    audience: Audience = "high_school"
    """Who reads it; the instructions differ in substance."""
    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        _, units = read_outline(str(seed["text"]))
        number = min(self.unit, len(units))
        title, points = units[number - 1] if units else ("its first chapter", [])
        task = f'Write the unit "{title}"' if units else f"Write {title}"
        explained = f" It explains these points:\n{listed(points)}\n" if points else ""
        known = "The reader knows the units before it; do not explain them again. "
        return user(
            f"Here is the outline of a course.\n\n{seed['text']}\n\n{task}.{explained}\n"
            f"{known if number > 1 else ''}{AUDIENCES[self.audience]} "
            f"Write about {self.words} words of plain prose. "
            f"{pick(FACTUAL, title)} {NO_CLICHES}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        if found.text in str(seed["text"]):
            return Refusal("copies_the_outline")
        return found.draft()

    def topic(self, seed: Seed) -> str:
        return read_outline(str(seed["text"]))[0]

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Water holds together by bonds.",
            text="Water holds together by bonds.",
        ),
        Example(
            seed=SEED,
            knobs={"unit": 7, "words": 50},
            reply="Sure, here is the chapter:\n\nIce floats.",
            text="Ice floats.",
        ),
        Example(seed=SEED, reply="1. Water\n- bonds between", refused="unfinished"),
        Example(
            seed={"text": "Ice\n\nWater bonds."}, reply="Water bonds.", refused="copies_the_outline"
        ),
        Example(seed=SEED, reply="I'm sorry, I cannot write that.", refused="model_declined"),
    )
