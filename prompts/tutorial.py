"""A web document rephrased as a tutorial."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._reply import clean
from prompts._text import count_steps, extract_topic

SEED = {"text": "Ferries need cars to park close. Bikes are tied to the rail.", "topic": "ferries"}


class Tutorial(TaskKind):
    """A web document rephrased as a tutorial in numbered steps."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}

    steps: int = Field(5, ge=2)
    """The number of steps that is asked for."""
    min_steps: int = Field(3, ge=1)
    """Fewer numbered steps than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f"Document:\n{seed['text']}\n\n"
            f"List {self.steps} numbered steps (1., 2., 3., ...) that lead a beginner through what "
            "this document says. Each step is two sentences: what to do or to look at, and why, "
            "with a fact of the document. Output only the steps."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        steps = count_steps(found.text)
        if steps < self.min_steps:
            return Refusal("too_few_steps", f"{steps} numbered steps, {self.min_steps} wanted")
        return found.draft()

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="You will load a ferry.\n1. Park close.\n2. Tie the bikes.\n3. Check the rail.",
            text="You will load a ferry.\n1. Park close.\n2. Tie the bikes.\n3. Check the rail.",
        ),
        Example(
            seed=SEED,
            knobs={"min_steps": 2},
            reply="Here is the tutorial:\n\nStep 1: Park close.\nStep 2: Tie the bikes.\nStep 3: C",
            text="Step 1: Park close.\nStep 2: Tie the bikes.",
        ),
        Example(seed=SEED, reply="Ferries carry cars and bikes.", refused="too_few_steps"),
        Example(seed=SEED, reply="I'm sorry, I can't.", refused="model_declined"),
    )
