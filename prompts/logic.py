"""A logic puzzle with its reasoning and answer."""

from collections.abc import Mapping
from typing import ClassVar

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._worked import check_worked, cut_second

SHOWN = {"form": "ordering", "setting": "three runners after a race", "level": "easy"}
EXAMPLE = """Puzzle: Ada, Bo and Cy ran a race. Bo was faster than Ada. Cy was slower than Ada. \
Who won?
Reasoning:
1. Bo was faster than Ada, so Bo is before Ada.
2. Cy was slower than Ada, so Ada is before Cy.
3. The order is Bo, Ada, Cy.
Answer: Bo"""
LEVELS = {
    "easy": "Two or three clues that lead straight to the answer.",
    "medium": "Three or four clues, one of which says what is not the case.",
    "hard": "Four or five clues; one case has to be tried and ruled out.",
}
SEED = {"form": "elimination", "setting": "a pet shop", "level": "easy"}


def _ask(seed: Seed) -> str:
    return (
        f"Write one logic puzzle. Form: {seed['form']}. Setting: {seed['setting']}. "
        f"Difficulty: {seed['level']}. {LEVELS.get(str(seed['level']), LEVELS['medium'])} "
        "End it with a question. Then reason step by step, each step from a clue or from an "
        "earlier step, and give the "
        "answer."
    )


class Logic(TaskKind):
    """A logic puzzle, its reasoning in steps, and the answer."""

    NEEDS: ClassVar[Mapping[str, type]] = {"form": str, "setting": str, "level": str}
    TAG: ClassVar[str | None] = "Logic"

    def messages(self, seed: Seed) -> list[Message]:
        return user(_ask(SHOWN)) + assistant(EXAMPLE) + user(_ask(seed))

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), unfinished="keep")
        if isinstance(found, Refusal):
            return found
        if "Ada, Bo and Cy" in found.text:
            return Refusal("copies_the_example")
        found = found.cut("second_problem", cut_second)
        return check_worked(found.text, number=False) or found.draft()

    def topic(self, seed: Seed) -> str:
        return f"{seed['form']}: {seed['setting']}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Puzzle: It is no cat. Cat or dog?\nReasoning:\n1. No cat.\nAnswer: Dog",
            text="Puzzle: It is no cat. Cat or dog?\nReasoning:\n1. No cat.\nAnswer: Dog",
        ),
        Example(
            seed=SEED,
            reply="Puzzle: Who barks?\n**Answer:** The dog.\n\nPuzzle: Who purrs?\nAnswer: The cat",
            text="Puzzle: Who barks?\n**Answer:** The dog.",
        ),
        Example(seed=SEED, reply="Puzzle: Who barks? Think of it.", refused="no_answer"),
        Example(
            seed=SEED,
            reply="Puzzle: Ada, Bo and Cy ran. Who won?\nAnswer: Bo",
            refused="copies_the_example",
        ),
    )
