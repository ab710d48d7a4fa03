"""The text of a course from its outline: use it with `seeds: {from: ...}`."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._text import is_refusal, strip_preamble


class CourseText(TaskKind):
    """The text of a course from its outline, an earlier generation's sample."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    TAG: ClassVar[str | None] = "Textbook"

    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f"Here is the outline of a course.\n\n{seed['text']}\n\nWrite its first chapter in "
            f"about {self.words} words of plain prose. Explain every point of the first unit with "
            "an example, and end with one sentence on what the next unit adds."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        if is_refusal(reply):
            return Refusal("model_declined")
        text = strip_preamble(reply)
        if text and text in str(seed["text"]):
            return Refusal("copies_the_outline")
        return Draft(text)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed={"text": "Ice\n\n1. Water\n- bonds"},
            reply="Water holds together by bonds.",
            text="Water holds together by bonds.",
        ),
        Example(
            seed={"text": "Ice\n\n1. Water\n- bonds"},
            reply="Sure, here is the chapter:\n\nIce floats.",
            text="Ice floats.",
        ),
        Example(
            seed={"text": "Ice\n\n1. Water\n- bonds"},
            reply="1. Water\n- bonds",
            refused="copies_the_outline",
        ),
        Example(
            seed={"text": "Ice\n\n1. Water\n- bonds"},
            reply="I'm sorry, I cannot write that.",
            refused="model_declined",
        ),
    )
