"""A blog post on what an extract of a web page is about."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import NARRATED, NO_CLICHES, pick
from prompts._reply import prose
from prompts._text import extract_topic

STYLES = {
    "personal": "Write in the first person, of something that you tried, what went wrong, and "
    "what you would tell a friend who tries it next.",
    "explainer": "Take one question that a reader may have and answer it step by step, with two "
    "comparisons from daily life and one thing that is still not known.",
    "opinion": "Take a side, give three reasons with a case for each, and answer the strongest "
    "argument against you fairly.",
    "field_notes": "Report what somebody sees, measures and hears in the place where it happens, "
    "hour by hour, and let the facts come out of that.",
}
SEED = {"text": "Ice covers the lake from December on.", "topic": "lake ice"}


class Blogpost(TaskKind):
    """A blog post on what an extract of a web page is about, in one of four styles."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}

    style: Literal["personal", "explainer", "opinion", "field_notes"] = "explainer"
    """How it is written: each style has instructions of its own."""
    topic_shown: bool = True
    """Whether the seed's topic, where it has one, is named in the prompt."""
    words: int = Field(500, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        named = f' about "{seed["topic"]}"' if self.topic_shown and seed.get("topic") else ""
        return user(
            f'Here is an extract of a web page:\n"{seed["text"]}"\n\n'
            f"Write a blog post{named} that takes up what the extract is about and says more "
            f"than it does, with concrete details. {STYLES[self.style]} "
            f"About {self.words} words of plain prose, no lists and no headings. "
            f"{pick(NARRATED, self.topic(seed))} {NO_CLICHES}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return prose(reply, seed, self.messages(seed))

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Title: Under the ice\n\nI drilled a hole and waited. Nothing bit.",
            text="Under the ice\n\nI drilled a hole and waited. Nothing bit.",
        ),
        Example(
            seed={"text": "Ice covers the lake."},
            knobs={"style": "opinion"},
            reply="Skating should be free.\n\nI hope this helps!",
            text="Skating should be free.",
            meta={"stripped": [{"rule": "closing", "text": "I hope this helps!"}]},
        ),
        Example(seed=SEED, reply="I'm sorry, I can't.", refused="model_declined"),
        Example(seed=SEED, reply="My name is [Your Name].", refused="placeholder"),
    )
