"""A word problem with its worked solution and final answer."""

from collections.abc import Mapping
from typing import ClassVar

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._worked import check_worked, cut_second

EXAMPLE = """Problem: A shop has 5 boxes with 12 pens each and sells 20 pens. How many are left?
Solution:
Pens in the shop: 5 * 12 = 60
Pens left: 60 - 20 = 40
Answer: 40 pens"""
SEED = {"skill": "adding", "setting": "a farm", "numbers": [3, 4], "level": "grade 1"}


def _ask(seed: Seed, numbers: str) -> str:
    return (
        f"Write one word problem for {seed['level']} that trains {seed['skill']}. "
        f"Setting: {seed['setting']}. Numbers: {numbers}. "
        "Then solve it, one calculation a line, and give the final number."
    )


class Math(TaskKind):
    """A word problem with its worked solution and final answer."""

    NEEDS: ClassVar[Mapping[str, type]] = {
        "skill": str,
        "setting": str,
        "numbers": list,
        "level": str,
    }
    TAG: ClassVar[str | None] = "Math"

    def messages(self, seed: Seed) -> list[Message]:
        shown = _ask(
            {"level": "grade 3", "skill": "two-step problems", "setting": "a stationery shop"},
            "5, 12, 20",
        )
        numbers = ", ".join(str(number) for number in seed["numbers"])
        return user(shown) + assistant(EXAMPLE) + user(_ask(seed, numbers))

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), unfinished="keep", english=False)
        if isinstance(found, Refusal):
            return found
        if "5 boxes with 12 pens" in found.text:
            return Refusal("copies_the_example")
        found = found.cut("second_problem", cut_second)
        return check_worked(found.text, number=True) or found.draft()

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Problem: 3 hens and 4 ducks. How many birds?\nSolution: 3 + 4 = 7\nAnswer: 7"
            "\n\nProblem: 5 hens",
            text="Problem: 3 hens and 4 ducks. How many birds?\nSolution: 3 + 4 = 7\nAnswer: 7",
        ),
        Example(
            seed=SEED,
            reply="How many birds are 3 hens and 4 ducks?\n3 + 4 = 7\nThe answer is 7 birds.",
            text="How many birds are 3 hens and 4 ducks?\n3 + 4 = 7\nThe answer is 7 birds.",
        ),
        Example(
            seed=SEED,
            reply="Problem: 3 hens and 4 ducks. How many birds are there?",
            refused="no_answer",
        ),
        Example(
            seed=SEED,
            reply="Problem: A shop has 5 boxes with 12 pens each. How many?\nAnswer: 60",
            refused="copies_the_example",
        ),
        Example(seed=SEED, reply="I'm sorry, I can't do sums.", refused="model_declined"),
    )
