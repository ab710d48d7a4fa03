"""A question and its answer, without a tag."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean

EXAMPLE = (
    "The Moon. Its gravity pulls the water of the side that faces it towards itself, so the sea "
    "rises there, and it rises on the far side as well, where the pull is weakest."
)
SEED = {"question": "Why does ice float?", "category": "physics", "answer": "it is less dense"}


class QuestionAnswer(TaskKind):
    """A question and its answer with a reason, as `**Question:** ... **Answer:** ...`."""

    NEEDS: ClassVar[Mapping[str, type]] = {"question": str}
    """A seed may also have `answer`, the short right one."""

    answer: Literal["given", "withheld"] = "given"
    """Whether the prompt shows the seed's right answer; `withheld` gives answers to judge."""
    min_words: int = Field(5, ge=1)
    """A shorter answer is refused."""

    def messages(self, seed: Seed) -> list[Message]:
        shown = self._ask("What makes the tides?", "the Moon's gravity")
        return (
            user(shown) + assistant(EXAMPLE) + user(self._ask(seed["question"], self._gold(seed)))
        )

    def _gold(self, seed: Seed) -> str:
        return str(seed.get("answer") or "") if self.answer == "given" else ""

    def _ask(self, question: str, gold: str) -> str:
        given = f" The right answer is: {gold}." if gold and self.answer == "given" else ""
        return f"{question}{given} Answer first, then explain why, in two or three sentences."

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        if len(found.text.split()) < self.min_words:
            return Refusal("too_short", found.text)
        return found.draft(f"**Question:** {seed['question']}\n\n**Answer:** {found.text}")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Ice is less dense than water. Its mol",
            text="**Question:** Why does ice float?\n\n**Answer:** Ice is less dense than water.",
        ),
        Example(
            seed=SEED,
            knobs={"answer": "withheld"},
            reply="It has a lower density.",
            text="**Question:** Why does ice float?\n\n**Answer:** It has a lower density.",
        ),
        Example(seed=SEED, reply="Because.", refused="too_short"),
        Example(
            seed=SEED,
            reply="Its gravity pulls the water of the side that faces it towards itself.",
            refused="copies_the_example",
        ),
    )
