"""Further turns of a conversation: of one that was generated, or of a corpus."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import pick
from prompts._turns import clean_answers, user_message

MOVES = (
    "asks for an example of the last point",
    "doubts one thing that the assistant said and says why",
    "tells how it is in their own case and asks what that changes",
    "asks for the reason behind one thing that the assistant said",
    "asks how to do it with less time or money",
    "asks what happens in the opposite case",
)
SEED = {
    "messages": [
        {"role": "user", "content": "Why does ice float?"},
        {"role": "assistant", "content": "It is less dense than water."},
    ]
}


class Continuation(TaskKind):
    """Further turns of a conversation: the user's next message and its answer, by the model."""

    NEEDS: ClassVar[Mapping[str, type]] = {"messages": dict}

    turns: int = Field(1, ge=1, le=4)
    """Messages of the user's that are added, each with its answer."""
    characters: int = Field(3000, ge=100)
    """How much of the end of the conversation the prompt shows."""

    def messages(self, seed: Seed) -> list[Message]:
        shown = "\n\n".join(f"{t['role'].title()}: {t['content']}" for t in seed["messages"])
        return user(
            f"Here is a conversation.\n\n{shown[-self.characters :]}\n\nWrite the next message of "
            f"the user, who {pick(MOVES, seed)}. One or two sentences, only the user's message."
        )

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        if len(turns) % 4 == 1:
            return (
                "You are the assistant. Answer this message of the user's, in no more than 120 "
                f"words, and repeat nothing:\n\n{turns[-1]['content']}"
            )
        if len(turns) >= 4 * self.turns - 1:
            return None
        move = pick(MOVES, seed, f"move {len(turns)}")
        return f"Now write the user's next message: the user {move}. Only the message."

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return Refusal("no_answer", "the exchange ended after the user's message")

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        turns = [dict(turn) for turn in seed["messages"]]
        said = {turn["content"].strip().casefold() for turn in turns}
        for at in range(0, len(messages) - 3, 4):
            question = user_message(messages[at + 1]["content"], [messages[at]], seed)
            if isinstance(question, Refusal):
                return question
            if question.casefold() in said:
                return Refusal("repeats_a_message", question[:200])
            said.add(question.casefold())
            turns += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": messages[at + 3]["content"]},
            ]
        return clean_answers(turns)

    def topic(self, seed: Seed) -> str:
        return str(seed.get("topic") or seed["messages"][0]["content"])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="User: Does it float in oil as well?",
            replies=("No, oil is lighter than ice.",),
            messages=(
                {"role": "user", "content": "Why does ice float?"},
                {"role": "assistant", "content": "It is less dense than water."},
                {"role": "user", "content": "Does it float in oil as well?"},
                {"role": "assistant", "content": "No, oil is lighter than ice."},
            ),
        ),
        Example(
            seed={"messages": SEED["messages"][1:]},
            reply="How much less dense is it?",
            replies=("Sure, here is the answer:\n\nEight percent. That is",),
            messages=(
                {"role": "assistant", "content": "It is less dense than water."},
                {"role": "user", "content": "How much less dense is it?"},
                {"role": "assistant", "content": "Eight percent."},
            ),
            meta={
                "stripped": [
                    {"rule": "preamble", "text": "Sure, here is the answer:", "turn": "2"},
                    {"rule": "unfinished", "text": "That is", "turn": "2"},
                ]
            },
        ),
        Example(
            seed=SEED,
            reply="Why does ice float?",
            replies=("It is light.",),
            refused="repeats_a_message",
        ),
        Example(
            seed=SEED,
            reply="And how dense is water?",
            replies=("It is less dense than water.",),
            refused="repeats_an_answer",
        ),
        Example(seed=SEED, reply="And how dense is water?", refused="no_answer"),
    )
