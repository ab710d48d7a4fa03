"""An excerpt and a response to it."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._reply import clean
from prompts._text import extract_topic

TASKS = {
    "explain": "Explain to a pupil what this excerpt says and why it is so, with one example that "
    "is not in it.",
    "summarize": "Say in three sentences what this excerpt tells, the most important fact first.",
    "question": "Ask one question that this excerpt answers, and answer it in two or three "
    "sentences.",
    "apply": "Say what somebody could do differently after reading this excerpt, with one concrete "
    "case.",
    "examine": "Say which claim of this excerpt one would want to check, how to check it, and what "
    "the result would mean.",
}
SEED = {"text": "Ice covers the lake from December on.", "topic": "lake ice"}


class Excerpt(TaskKind):
    """An excerpt and a response to it: explained, summarized, asked about, applied or examined."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    TAG: ClassVar[str | None] = "Excerpt"

    task: Literal["explain", "summarize", "question", "apply", "examine"] = "explain"
    """What the response does with the excerpt."""
    min_words: int = Field(15, ge=1)
    """A shorter response is refused."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(f"{TASKS[self.task]} Answer in plain prose.\n\n{seed['text']}")

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        if found.text in str(seed["text"]):
            return Refusal("copies_the_excerpt")
        if len(found.text.split()) < self.min_words:
            return Refusal("too_short", f"{len(found.text.split())} words")
        return found.draft(f"{seed['text']}\n\n[Response] {found.text}")

    def format(self) -> str:
        return f"excerpt_{self.task}"

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"min_words": 3},
            reply="In winter the lake freezes.",
            text="Ice covers the lake from December on.\n\n[Response] In winter the lake freezes.",
        ),
        Example(
            seed=SEED,
            knobs={"task": "question", "min_words": 3},
            reply="Response: When does it freeze? In December. It is",
            text="Ice covers the lake from December on.\n\n"
            "[Response] When does it freeze? In December.",
        ),
        Example(
            seed=SEED, reply="Ice covers the lake from December on.", refused="copies_the_excerpt"
        ),
        Example(seed=SEED, reply="It freezes.", refused="too_short"),
    )
