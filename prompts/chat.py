"""A conversation: a question about a topic, and a further question for each of its points."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import pick
from prompts._text import in_sentence
from prompts._turns import clean_answers

FIRST = (
    "Explain this briefly: {}.",
    "I have to understand this for tomorrow: {}. What matters most?",
    "My daughter asked me about {}. How would you put it simply?",
    "What would you say to someone who has never heard of this: {}?",
    "Can you explain {} with an example?",
    "I keep getting stuck on {}. Where do people go wrong?",
    "In three or four sentences: {}?",
    "Quick question about {}: how does it work, and why?",
)
FURTHER = (
    "And what about this: {}?",
    "Where does this come in: {}?",
    "You did not mention {}. Does it matter here?",
    "Could you give me an example for this: {}?",
    "I still do not see this point: {}.",
    "What would change without this: {}?",
)
SEED = {"topic": "Ice", "focus": ["density"]}


class Chat(TaskKind):
    """A conversation of several turns: a question on a topic, then one for each of its points."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "focus": list}

    turns: int = Field(3, ge=1, le=4)
    """Questions that are asked, the first one on the topic included."""

    def messages(self, seed: Seed) -> list[Message]:
        topic = in_sentence(str(seed["topic"])).rstrip("?.")
        return user(pick(FIRST, self.topic(seed)).format(topic))

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        asked = len(turns) // 2
        points = [str(point) for point in seed["focus"]][: self.turns - 1]
        if asked >= len(points):
            return None
        return pick(FURTHER, self.topic(seed), f"further {asked}").format(points[asked])

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return self.parse_exchange(
            [*self.messages(seed), {"role": "assistant", "content": reply}], seed
        )

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        return clean_answers(messages)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"turns": 1},
            reply=" Frozen water. ",
            messages=(
                {"role": "user", "content": "Can you explain Ice with an example?"},
                {"role": "assistant", "content": "Frozen water."},
            ),
        ),
        Example(
            seed=SEED,
            reply="Sure! Here is a short answer:\n\nWater below zero.",
            replies=("It is lower than that of water. So it",),
            messages=(
                {"role": "user", "content": "Can you explain Ice with an example?"},
                {"role": "assistant", "content": "Water below zero."},
                {"role": "user", "content": "And what about this: density?"},
                {"role": "assistant", "content": "It is lower than that of water."},
            ),
        ),
        Example(
            seed=SEED,
            reply="I'm sorry, I do not know.",
            refused="model_declined",
        ),
        Example(
            seed=SEED,
            reply="Ice is frozen water.",
            replies=("Ice is frozen water.",),
            refused="repeats_an_answer",
        ),
    )
