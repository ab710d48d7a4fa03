"""Further turns of a conversation: of one that was generated, or of a corpus."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._openings import pick
from prompts._turns import clean_answers, written_turns

MOVES = (
    "asks for an example of the last point",
    "doubts one thing that the assistant said and says why",
    "tells how it is in their own case and asks what that changes",
    "asks for the reason behind one thing that the assistant said",
    "asks how to do it with less time or money",
    "asks what happens in the opposite case",
)
SHOWN = """User: How often should I water a cactus?
Assistant: Every two or three weeks in summer, and hardly at all in winter."""
EXAMPLE = """User: Mine stands over the heater in winter. Does that change anything?
Assistant: Yes, it dries out there. Give it a few spoonfuls once a month, or better, move it to a \
cool window, where it can rest."""
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
        told = "\n".join(f"{t['role'].title()}: {t['content']}" for t in seed["messages"])
        shown = user(self._ask(SHOWN, MOVES[2], 1)) + assistant(EXAMPLE)
        return shown + user(
            self._ask(told[-self.characters :], pick(MOVES, seed["messages"]), self.turns)
        )

    def _ask(self, told: str, move: str, turns: int) -> str:
        more = f" Then go on until each has spoken {turns} times." if turns > 1 else ""
        return (
            f"Here is a conversation.\n\n{told}\n\nContinue it: the user {move}, in one or two "
            f"sentences, and the assistant answers.{more} Begin with User: and Assistant:"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        new = written_turns(reply, seed, self.messages(seed), self.turns)
        if isinstance(new, Refusal):
            return new
        said = {turn["content"].strip().casefold() for turn in seed["messages"]}
        if repeated := [turn for turn in new[::2] if turn["content"].casefold() in said]:
            return Refusal("repeats_a_message", repeated[0]["content"][:200])
        return clean_answers([*(dict(turn) for turn in seed["messages"]), *new])

    def topic(self, seed: Seed) -> str:
        return str(seed.get("topic") or seed["messages"][0]["content"])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="User: Does it float in oil?\nAssistant: No, oil is lighter than ice.",
            messages=(
                *SEED["messages"],
                {"role": "user", "content": "Does it float in oil?"},
                {"role": "assistant", "content": "No, oil is lighter than ice."},
            ),
        ),
        Example(
            seed={"messages": SEED["messages"][1:]},
            reply="Here is the rest:\n\nUser: How much less dense?\nAssistant: Eight percent. Th",
            messages=(
                SEED["messages"][1],
                {"role": "user", "content": "How much less dense?"},
                {"role": "assistant", "content": "Eight percent."},
            ),
            meta={"stripped": [{"rule": "unfinished", "text": "Th", "turn": "2"}]},
        ),
        Example(
            seed=SEED,
            reply="User: Why does ice float?\nAssistant: It is light.",
            refused="repeats_a_message",
        ),
        Example(
            seed=SEED,
            reply="User: And how dense is water?\nAssistant: It is less dense than water.",
            refused="repeats_an_answer",
        ),
        Example(seed=SEED, reply="User: And how dense is water?", refused="no_turns"),
    )
