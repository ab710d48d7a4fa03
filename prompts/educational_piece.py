"""A lesson around an extract of mathematical or code web text."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import FACTUAL, NO_CLICHES, pick
from prompts._reply import prose
from prompts._text import extract_topic

READERS = {
    ("college", "math"): "The readers are college students: name the theorem or rule at work, "
    "derive it in two or three steps, and show where it stops to hold.",
    ("college", "code"): "The readers are students of computer science: say what the code costs "
    "in time and memory, name one input that breaks it, and how to test for that.",
    ("grade_school", "math"): "The readers are ten years old: work with counters, coins or slices "
    "in place of letters, one small calculation at a time, and check the result in another way.",
    ("grade_school", "code"): "The readers are ten years old and have never programmed: compare "
    "each command with an order given to a helper, and follow one run with real values.",
}
SEED = {"text": "The sum 1 + 3 + 5 is 9, a square.", "topic": "odd numbers", "domain": "math"}


class EducationalPiece(TaskKind):
    """A lesson around an extract of mathematical or code web text, for college or grade school."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    """A seed may also have `topic`, and `domain`: "math" (taken where it is missing) or "code"."""

    audience: Literal["college", "grade_school"] = "college"
    """Who reads it; the instructions differ in substance."""
    words: int = Field(500, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        domain = "code" if seed.get("domain") == "code" else "math"
        subject = "programming" if domain == "code" else "mathematics"
        return user(
            f'Here is an extract of a web page:\n"{seed["text"]}"\n\n'
            f"Write a lesson in {subject} that teaches the idea in it: explain each term that it "
            "uses, then work through one example of your own with real numbers, step by step, "
            f"and say why each step is allowed. {READERS[self.audience, domain]} "
            f"About {self.words} words. Do not mention the extract. "
            f"{pick(FACTUAL, self.topic(seed))} {NO_CLICHES}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return prose(reply, seed, self.messages(seed))

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Odd numbers add up to squares: 1 + 3 = 4. Draw it as a corner.",
            text="Odd numbers add up to squares: 1 + 3 = 4. Draw it as a corner.",
        ),
        Example(
            seed={"text": "for x in range(3): print(x)", "domain": "code"},
            knobs={"audience": "grade_school"},
            reply="```markdown\nThe helper counts 0, 1, 2.\n```",
            text="The helper counts 0, 1, 2.",
        ),
        Example(seed=SEED, reply="The sum and the", refused="unfinished"),
        Example(seed=SEED, reply="Sorry, I cannot do that.", refused="model_declined"),
    )
