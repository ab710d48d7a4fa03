"""A web document rephrased as a math problem with its solution."""

import re
from collections.abc import Mapping
from typing import ClassVar

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._openings import pick
from prompts._reply import clean
from prompts._text import extract_topic
from prompts._worked import check_worked, cut_second

SHOWN = (
    "The old tram line has 14 stops and takes 35 minutes from end to end. After the rebuild, the "
    "town says, each tram will carry 180 people in place of 120."
)
EXAMPLE = """Problem: A tram carries 120 people. After a rebuild it carries 180. There are 4 trams \
an hour. How many more people can travel in an hour after the rebuild?
Solution:
More people in one tram: 180 - 120 = 60
More people in an hour: 60 * 4 = 240
Answer: 240 people"""
NUMBERS = (("4", "15"), ("6", "25"), ("3", "48"), ("8", "12"), ("5", "30"), ("9", "20"))
"""For documents with fewer than two numbers of their own."""
SEED = {"text": "The ferry takes 3 cars and 4 bikes.", "topic": "ferries"}


def _ask(document: str) -> str:
    found = list(dict.fromkeys(re.findall(r"(?<![\d.,])\d{1,4}(?:\.\d+)?(?![\d.,]*\d)", document)))
    numbers = ", ".join(found[:3] if len(found) > 1 else [*found, *pick(NUMBERS, document)])
    return (
        f"Document:\n{document}\n\n"
        f"Write one word problem on something that this document tells. Numbers: {numbers}. "
        "Then solve it, one calculation a line, and give the final number."
    )


class MathProblem(TaskKind):
    """A web document rephrased as a word problem, with its worked solution and answer."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    TAG: ClassVar[str | None] = "Math"

    def messages(self, seed: Seed) -> list[Message]:
        return user(_ask(SHOWN)) + assistant(EXAMPLE) + user(_ask(str(seed["text"])))

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), unfinished="keep", english=False)
        if isinstance(found, Refusal):
            return found
        found = found.cut("second_problem", cut_second)
        return check_worked(found.text, number=True) or found.draft()

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Problem: A ferry takes 3 cars. How many in 2 trips?\n2 * 3 = 6\nAnswer: 6 cars",
            text="Problem: A ferry takes 3 cars. How many in 2 trips?\n2 * 3 = 6\nAnswer: 6 cars",
        ),
        Example(
            seed=SEED,
            reply="Here is the problem:\n\nHow many wheels have 4 bikes?\n4 * 2 = 8\n#### 8",
            text="How many wheels have 4 bikes?\n4 * 2 = 8\n#### 8",
        ),
        Example(
            seed=SEED, reply="The ferry takes cars and bikes over the lake.", refused="no_question"
        ),
        Example(seed=SEED, reply="How many cars are there?", refused="no_answer"),
        Example(
            seed=SEED,
            reply="How many more people can travel in an hour after the rebuild?\nAnswer: 7",
            refused="copies_the_example",
        ),
    )
