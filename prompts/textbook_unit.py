"""A unit of a textbook, from a book's outline tree."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._audiences import AUDIENCES, Audience
from prompts._openings import FACTUAL, NO_CLICHES, pick
from prompts._reply import prose
from prompts._text import listed

SEED = {
    "unit": "Loops over files",
    "book": "Python for beginners",
    "chapter": "Files",
    "covered": ["Opening a file", "Reading one line"],
    "reference": "A file object gives its lines one after the other.",
}


class TextbookUnit(TaskKind):
    """A unit of a textbook's outline, building on the units before it, with a reference or not."""

    NEEDS: ClassVar[Mapping[str, type]] = {"unit": str}
    """What `as: outline` gives; a seed may also have its `book`, `chapter`, `section`, `focus`,
    `covered` (the units before it) and `reference`."""
    TAG: ClassVar[str | None] = "Textbook"

    audience: Audience = "college"
    """Who reads it; the instructions differ in substance."""
    covered: int = Field(5, ge=0)
    """How many of the units before it the prompt names, the nearest ones."""
    reference_characters: int = Field(600, ge=0)
    """How much of the reference extract the prompt shows; 0 leaves it out."""
    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        place = ", ".join(str(seed[key]) for key in ("book", "chapter", "section") if seed.get(key))
        points = listed(seed.get("focus") or [])
        before = list(seed.get("covered") or [])
        covered = listed(before[max(0, len(before) - self.covered) :])
        reference = str(seed.get("reference") or "")[: self.reference_characters]
        parts = [
            f'Write the unit "{seed["unit"]}"' + (f" of the textbook {place}." if place else "."),
            f"It explains these points:\n{points}" if points else "",
            "The reader knows these units already; build on them and do not explain them again:\n"
            f"{covered}"
            if covered
            else "",
            f'Keep to the facts of this extract, in your own words:\n"{reference}"'
            if reference
            else "",
            f"{AUDIENCES[self.audience]} Write about {self.words} words of plain prose. "
            f"{pick(FACTUAL, self.topic(seed))} {NO_CLICHES}",
        ]
        return user("\n\n".join(part for part in parts if part))

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return prose(reply, seed, self.messages(seed))

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="A for loop hands you each line. You need not ask for it.",
            text="A for loop hands you each line. You need not ask for it.",
        ),
        Example(
            seed={"unit": "Loops over files"},
            knobs={"audience": "professionals"},
            reply="Certainly! Here is the unit.\n\nLines are read when they are asked for. So mem",
            text="Lines are read when they are asked for.",
        ),
        Example(
            seed=SEED,
            reply="The reader knows these units already; build on them and do not explain them.",
            refused="leaks_instructions",
        ),
        Example(seed=SEED, reply="In this [insert topic] we learn.", refused="placeholder"),
    )
