"""A conversation: a question about a topic, and a further question for each of its points."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._text import is_refusal


class Chat(TaskKind):
    """A conversation of several turns: a question on a topic, then one for each of its points."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "focus": list}

    turns: int = Field(3, ge=1, le=4)
    """Questions that are asked, the first one on the topic included."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(f"Explain this briefly: {seed['topic']}.")

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        asked = len(turns) // 2
        points = [str(point) for point in seed["focus"]][: self.turns - 1]
        if asked >= len(points):
            return None
        return f"And what about this: {points[asked]}?"

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        question = self.messages(seed)[-1]
        answer = {"role": "assistant", "content": reply}
        return self.parse_exchange([question, answer], seed)

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        answers = [m["content"].strip() for m in messages if m["role"] == "assistant"]
        if any(is_refusal(answer) for answer in answers):
            return Refusal("model_declined")
        if len(set(answers)) < len(answers):
            return Refusal("repeats_an_answer")
        return Draft(messages=tuple({**m, "content": m["content"].strip()} for m in messages))

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed={"topic": "Ice", "focus": ["density"]},
            knobs={"turns": 1},
            reply=" Frozen water. ",
            messages=(
                {"role": "user", "content": "Explain this briefly: Ice."},
                {"role": "assistant", "content": "Frozen water."},
            ),
        ),
        Example(
            seed={"topic": "Ice", "focus": ["density"]},
            reply="Water below zero.",
            messages=(
                {"role": "user", "content": "Explain this briefly: Ice."},
                {"role": "assistant", "content": "Water below zero."},
            ),
        ),
        Example(
            seed={"topic": "Ice", "focus": ["density"]},
            reply="I'm sorry, I do not know.",
            refused="model_declined",
        ),
        Example(
            seed={"topic": "Ice", "focus": ["density"]},
            reply="As an AI, I have never seen ice.",
            refused="model_declined",
        ),
    )
