"""A textbook section on a topic, for a given audience, academic or narrative."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._text import is_refusal, listed, strip_preamble

AUDIENCES = {
    "young_children": "Write for children of seven. Use short sentences and everyday words, "
    "compare each new thing with something found at home, and ask the reader one question.",
    "middle_school": "Write for middle-school pupils. Define each new term in the sentence that "
    "first uses it, work through one example with real numbers or names, and name a common "
    "mistake and why it is wrong.",
    "high_school": "Write for high-school students. Explain the mechanism behind each fact, give "
    "the formula or rule where there is one, and connect it to one neighbouring subject.",
    "college": "Write for first-year college students. State definitions precisely, give the "
    "reasoning or derivation step by step, and discuss a limit or an exception.",
    "professionals": "Write for practitioners. Skip the basics, compare two methods by cost and "
    "risk, and give a worked case with realistic figures.",
    "general": "Write for curious adults without training. Begin with a concrete situation, then "
    "explain what happens and why it matters, without jargon.",
}
STYLES = {
    "academic": "Keep a clear, factual tone, moving from definition to explanation to example.",
    "narrative": "Let the explanation follow one person or place through a real situation.",
}


class Textbook(TaskKind):
    """A textbook section on a topic, for a given audience, academic or narrative."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str, "focus": list}
    TAG: ClassVar[str | None] = "Textbook"

    audience: Literal[
        "young_children", "middle_school", "high_school", "college", "professionals", "general"
    ] = "middle_school"
    style: Literal["academic", "narrative"] = "academic"
    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f"Write a section of a textbook on {seed['category']} with the title "
            f'"{seed["topic"]}". Explain these points, in whole paragraphs:\n'
            f"{listed(seed['focus'])}\n"
            f"{AUDIENCES[self.audience]} {STYLES[self.style]} "
            f"Write about {self.words} words of plain prose, only the section itself, start with "
            "the subject and finish with a complete sentence."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        if is_refusal(reply):
            return Refusal("model_declined")
        return Draft(strip_preamble(reply))

    def format(self) -> str:
        return f"textbook_{self.style}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed={"topic": "Why ice floats", "category": "Physics", "focus": ["density"]},
            reply="Sure, here is the section:\n\nIce floats because it is less dense.",
            text="Ice floats because it is less dense.",
        ),
        Example(
            seed={"topic": "Why ice floats", "category": "Physics", "focus": ["density"]},
            knobs={"audience": "college", "style": "narrative"},
            reply="Title: Why ice floats\n\nOn a January morning Mara drops a cube in a glass.",
            text="Why ice floats\n\nOn a January morning Mara drops a cube in a glass.",
        ),
        Example(
            seed={"topic": "Why ice floats", "category": "Physics", "focus": ["density"]},
            reply="I'm sorry, but I can't help with that.",
            refused="model_declined",
        ),
        Example(
            seed={"topic": "Why ice floats", "category": "Physics", "focus": ["density"]},
            reply="As an AI language model, I do not have opinions on ice.",
            refused="model_declined",
        ),
    )
