"""A textbook section on a topic, for a given audience, academic or narrative."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._audiences import AUDIENCES, STYLES, Audience
from prompts._openings import FACTUAL, NARRATED, NO_CLICHES, pick
from prompts._reply import prose
from prompts._text import listed

SEED = {"topic": "Why ice floats", "category": "Physics", "focus": ["density"]}


class Textbook(TaskKind):
    """A textbook section on a topic, for a given audience, academic or narrative."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str, "focus": list}
    TAG: ClassVar[str | None] = "Textbook"

    audience: Audience = "middle_school"
    """Who reads it; the instructions differ in substance."""
    style: Literal["academic", "narrative"] = "academic"
    """Definition, explanation, example; or a person or place followed through a situation."""
    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        opening = pick(FACTUAL if self.style == "academic" else NARRATED, self.topic(seed))
        return user(
            f"Write a section of a textbook on {seed['category']} with the title "
            f'"{seed["topic"]}". Explain these points, in whole paragraphs:\n'
            f"{listed(seed['focus'])}\n"
            f"{AUDIENCES[self.audience]} {STYLES[self.style]} "
            f"Write about {self.words} words of plain prose. {opening} {NO_CLICHES}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return prose(reply, seed, self.messages(seed))

    def format(self) -> str:
        return f"textbook_{self.style}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Sure, here is the section:\n\nIce floats because it is less dense. It is al",
            text="Ice floats because it is less dense.",
            meta={
                "stripped": [
                    {"rule": "preamble", "text": "Sure, here is the section:"},
                    {"rule": "unfinished", "text": "It is al"},
                ]
            },
        ),
        Example(
            seed=SEED,
            knobs={"audience": "college", "style": "narrative"},
            reply="Title: Why ice floats\n\nOn a January morning Mara drops a cube in a glass.",
            text="Why ice floats\n\nOn a January morning Mara drops a cube in a glass.",
        ),
        Example(
            seed=SEED,
            reply="I'm sorry, but I can't help with that.",
            refused="model_declined",
        ),
        Example(
            seed=SEED,
            reply="El hielo flota porque es menos denso que el agua. Cuando el agua se congela, "
            "sus moléculas forman una red abierta, y por eso ocupa más espacio que antes.",
            refused="not_english",
        ),
    )
