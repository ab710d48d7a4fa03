"""A section of a programming textbook around one function."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._text import python_blocks

READERS = {
    "easy": "The readers write their first programs: follow one call line by line, with the value "
    "of each variable.",
    "medium": "The readers know loops and functions: say what the code does at its edges, such as "
    "an empty input, and why.",
    "hard": "The readers program daily: compare the solution with another one by time, memory and "
    "clarity.",
}
SHOWN = {
    "signature": "def is_even(number: int) -> bool:",
    "task": "Return whether the number can be divided by two.",
    "area": "numbers",
    "level": "easy",
}
EXAMPLE = """A list of house numbers has to be split into the two sides of a street. For that we \
ask of each number what is left when it is divided by two.

```python
def is_even(number: int) -> bool:
    return number % 2 == 0
```

The operator % gives the rest of a division. For 14 the rest is 0, so the comparison is True; for \
9 it is 1, so it is False.

The call is_even(14) returns True. Zero counts as even too, since nothing is left over."""
SEED = {"signature": "def twice(x: int) -> int:", "task": "Return x times two.", "area": "numbers"}


class CodeTextbook(TaskKind):
    """A section of a programming textbook: an idea, its code, and the code explained."""

    NEEDS: ClassVar[Mapping[str, type]] = {"signature": str, "task": str, "area": str}
    """A seed may also have `level`: easy, medium or hard."""
    TAG: ClassVar[str | None] = "Textbook"

    words: int = Field(400, ge=40)
    """The length that is asked for, code left out."""
    min_words: int = Field(40, ge=0)
    """Fewer words beside the code than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(self._ask(SHOWN)) + assistant(EXAMPLE) + user(self._ask(seed))

    def _ask(self, seed: Seed) -> str:
        return (
            f"Write a section of a Python textbook, chapter {seed['area']}, around this function:"
            f"\n\n{seed['signature']}\n{seed['task']}\n\n"
            "First a paragraph on the problem and where it turns up, then the whole function in "
            "one Python code block, then a paragraph on how it works and one on an example call. "
            f"{READERS.get(str(seed.get('level')), READERS['medium'])} About {self.words} words "
            "beside the code, no headings."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), english=False)
        if isinstance(found, Refusal):
            return found
        blocks = python_blocks(found.text)
        if not any("def " in block for block in blocks):
            return Refusal("no_code_block")
        words = len(found.text.split()) - sum(len(block.split()) for block in blocks)
        if words < self.min_words:
            return Refusal("too_little_prose", f"{words} words beside the code")
        return found.draft()

    def topic(self, seed: Seed) -> str:
        return str(seed["area"])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"min_words": 3},
            reply="Doubling sums.\n\n```python\ndef twice(x):\n    return x + x\n```\n\nIt adds.",
            text="Doubling sums.\n\n```python\ndef twice(x):\n    return x + x\n```\n\nIt adds.",
        ),
        Example(
            seed={**SEED, "level": "hard"},
            knobs={"min_words": 2},
            reply="Two ways exist.\n```\ndef twice(x):\n    return 2 * x\n```\nThe call twi",
            text="Two ways exist.\n```\ndef twice(x):\n    return 2 * x\n```",
        ),
        Example(seed=SEED, reply="Doubling a number is easy.", refused="no_code_block"),
        Example(
            seed=SEED,
            reply="```python\ndef twice(x):\n    return 2 * x\n```",
            refused="too_little_prose",
        ),
    )
