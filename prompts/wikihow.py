"""A how-to article with numbered steps."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._reply import clean
from prompts._text import count_steps

SEED = {"title": "Sharpen a pencil", "category": "Home", "focus": ["angle"]}


class Wikihow(TaskKind):
    """A how-to article with numbered steps."""

    NEEDS: ClassVar[Mapping[str, type]] = {"title": str, "category": str, "focus": list}

    steps: int = Field(6, ge=2)
    """The number of steps that is asked for."""
    min_steps: int = Field(3, ge=1)
    """Fewer numbered steps than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        title = str(seed["title"])
        points = ", ".join(str(point) for point in seed["focus"])
        return user(
            f"List {self.steps} numbered steps (1., 2., 3., ...) that explain how to "
            f"{title[:1].lower()}{title[1:]}. Each step is two or three sentences: what to do, "
            f"how to do it, and how to see that it worked. Cover: {points}. "
            "After the steps, name the most common mistake and how to avoid it."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        steps = count_steps(found.text)
        if steps < self.min_steps:
            return Refusal("too_few_steps", f"{steps} numbered steps, {self.min_steps} wanted")
        return found.draft()

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="You need a knife.\n\n1. Hold it.\n2. Cut away from you.\n3. Round the tip.\n4.",
            text="You need a knife.\n\n1. Hold it.\n2. Cut away from you.\n3. Round the tip.",
        ),
        Example(
            seed=SEED,
            knobs={"min_steps": 2},
            reply="**Step 1:** Hold the pencil.\n**Step 2:** Turn it.",
            text="**Step 1:** Hold the pencil.\n**Step 2:** Turn it.",
        ),
        Example(
            seed=SEED,
            reply="Pencils are sharpened with a sharpener. It takes patience.",
            refused="too_few_steps",
        ),
        Example(
            seed=SEED,
            reply="I cannot help with sharp objects.",
            refused="model_declined",
        ),
    )
