"""A textbook section on what an extract of a web page is about."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._audiences import AUDIENCES, STYLES, Audience
from prompts._openings import FACTUAL, NARRATED, NO_CLICHES, pick
from prompts._reply import prose
from prompts._text import extract_topic

SEED = {"text": "Ice covers the lake from December on. Fish live below it.", "topic": "lake ice"}


class TextbookExtract(TaskKind):
    """A textbook section on what an extract of a web page is about, the extract left behind."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    TAG: ClassVar[str | None] = "Textbook"

    audience: Audience = "college"
    """Who reads it; the instructions differ in substance."""
    style: Literal["academic", "narrative"] = "academic"
    """As `textbook` has it."""
    topic_shown: bool = True
    """Whether the seed's topic, where it has one, is named in the prompt."""
    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        named = f' on "{seed["topic"]}"' if self.topic_shown and seed.get("topic") else ""
        opening = pick(FACTUAL if self.style == "academic" else NARRATED, self.topic(seed))
        return user(
            f'Here is an extract of a web page:\n"{seed["text"]}"\n\n'
            f"Write a section of a textbook{named} that teaches what a reader has to know to "
            "understand the extract, and goes deeper than it does. Do not mention the extract. "
            f"{AUDIENCES[self.audience]} {STYLES[self.style]} "
            f"Write about {self.words} words of plain prose. {opening} {NO_CLICHES}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return prose(reply, seed, self.messages(seed))

    def format(self) -> str:
        return f"textbook_{self.style}"

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Introduction\n\nWater is densest at four degrees, so the cold stays on top.",
            text="Water is densest at four degrees, so the cold stays on top.",
            meta={"stripped": [{"rule": "heading", "text": "Introduction"}]},
        ),
        Example(
            seed={"text": "Ice covers the lake."},
            knobs={"style": "narrative", "audience": "young_children"},
            reply="Mara taps the ice with her boot. It sounds like a drum.\n\nLet me know if you "
            "want more!",
            text="Mara taps the ice with her boot. It sounds like a drum.",
        ),
        Example(
            seed=SEED,
            reply="Write a section of a textbook that teaches what a reader has to know to "
            "understand the extract.",
            refused="leaks_instructions",
        ),
        Example(seed=SEED, reply="I cannot write this.", refused="model_declined"),
    )
