"""A conversation of several turns with a persona that the model plays."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import pick
from prompts._turns import clean_answers

FIRST = (
    "They told me that you are the one to ask. It is about {}.",
    "Hello {name}. I need help with {}.",
    "I have never done this before: {}. Where do I begin?",
    "Do you have a minute? I am thinking about {}.",
    "{name}, what would you do in my place? It is about {}.",
    "My problem is {}, and I have until tomorrow.",
    "Everybody tells me something else about {}. What do you say?",
    "I tried it alone and failed. I mean {}.",
)
FURTHER = (
    "I tried something like that, and it did not work. What else is there?",
    "Why would you do it that way?",
    "Which mistake do people make most often?",
    "Tell me of a time when it went wrong for you.",
    "How will I know that it is done?",
    "And if I have only half the time?",
    "That sounds expensive. Can it be done with what I have at home?",
    "Who taught you that?",
    "What should I do first when I am home?",
    "I am not sure that I understood. Can you say it another way?",
)
SEED = {"name": "Ilo", "persona": "a baker", "manner": "dry", "scenario": "buying bread"}
ASKED = "Ilo, what would you do in my place? It is about buying bread."
CARD = (
    "You are Ilo, a baker. You speak like this: dry. The user comes to you for buying bread. Stay "
    "in character, answer in two to four sentences, and never say that you are an assistant."
)


class RoleplayPersona(TaskKind):
    """A conversation of several turns with a persona, whose card is the system message."""

    NEEDS: ClassVar[Mapping[str, type]] = {
        "name": str,
        "persona": str,
        "manner": str,
        "scenario": str,
    }
    TAG: ClassVar[str | None] = "Roleplay"

    turns: int = Field(3, ge=1, le=8)
    """How often the user speaks."""

    def messages(self, seed: Seed) -> list[Message]:
        card = (
            f"You are {seed['name']}, {seed['persona']}. You speak like this: {seed['manner']}. "
            f"The user comes to you for {seed['scenario']}. Stay in character, answer in two to "
            "four sentences, and never say that you are an assistant."
        )
        first = pick(FIRST, self.topic(seed)).format(seed["scenario"], name=seed["name"])
        return [{"role": "system", "content": card}, *user(first)]

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        asked = len(turns) // 2
        if asked >= self.turns - 1:
            return None
        said = {turn["content"] for turn in turns}
        return pick(
            [text for text in FURTHER if text not in said], self.topic(seed), f"further {asked}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        answer = {"role": "assistant", "content": reply}
        return self.parse_exchange([self.messages(seed)[-1], answer], seed)

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        card = self.messages(seed)[0]
        found = clean_answers(messages)
        if isinstance(found, Refusal):
            return found
        return Draft(messages=(card, *found.messages), meta=found.meta)

    def topic(self, seed: Seed) -> str:
        return str(seed["persona"])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"turns": 1},
            reply="Bread is round here. You eat it. Then you",
            messages=(
                {"role": "system", "content": CARD},
                {"role": "user", "content": ASKED},
                {"role": "assistant", "content": "Bread is round here. You eat it."},
            ),
            meta={"stripped": [{"rule": "unfinished", "text": "Then you", "turn": "1"}]},
        ),
        Example(
            seed=SEED,
            knobs={"turns": 2},
            reply="Sold out.",
            replies=("Come back at six.",),
            messages=(
                {"role": "system", "content": CARD},
                {"role": "user", "content": ASKED},
                {"role": "assistant", "content": "Sold out."},
                {"role": "user", "content": "What should I do first when I am home?"},
                {"role": "assistant", "content": "Come back at six."},
            ),
        ),
        Example(
            seed=SEED,
            knobs={"turns": 2},
            reply="Sold out.",
            replies=("Sold out.",),
            refused="repeats_an_answer",
        ),
        Example(
            seed=SEED,
            reply="Hello! I am an AI and cannot sell bread.",
            refused="model_declined",
        ),
    )
