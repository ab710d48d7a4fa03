"""A lesson as an online tutor gives it."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import FACTUAL, NO_CLICHES, pick
from prompts._reply import clean
from prompts._text import in_sentence, listed

LEVELS = {
    "grade_school": "The learner is in grade school: everyday words, small numbers, and pictures "
    "told in words.",
    "high_school": "The learner is in high school: use the proper terms, and say how a rule "
    "follows from one that is known.",
    "college": "The learner is in college: give the general case after the example, and one case "
    "in which it fails.",
}
SEED = {"topic": "Why ice floats", "category": "Physics", "focus": ["density"], "level": "college"}


class KhanLesson(TaskKind):
    """A lesson as an online tutor gives it: talks to the learner, works an example, asks back."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str, "focus": list}
    """A seed may also have `level`, and `covered`: the lessons before this one."""

    words: int = Field(500, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        covered = listed(seed.get("covered") or [])
        known = f"The learner has done these lessons already:\n{covered}\n" if covered else ""
        return user(
            f"Give a lesson on {in_sentence(str(seed['topic']))} ({seed['category']}). Explain:\n"
            f"{listed(seed['focus'])}\n{known}"
            f"{LEVELS.get(str(seed.get('level')), LEVELS['high_school'])} "
            f"About {self.words} words in paragraphs. {pick(FACTUAL, seed)} {NO_CLICHES} "
            "Talk to the learner as you. Work through one example aloud, one thought at a time. "
            "Then ask the learner one question on a new case, and answer it."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        return found.draft() if "?" in found.text else Refusal("no_question")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Let us weigh a cube of ice. Does it sink in oil? It does, for oil is lighter.",
            text="Let us weigh a cube of ice. Does it sink in oil? It does, for oil is lighter.",
        ),
        Example(
            seed={**SEED, "covered": ["Mass and volume"]},
            reply="Lesson: We know mass. What of ice? It floats.\n\nFeel free to ask more.",
            text="We know mass. What of ice? It floats.",
        ),
        Example(seed=SEED, reply="Ice floats because it is light.", refused="no_question"),
        Example(seed=SEED, reply="I am sorry, I cannot teach.", refused="model_declined"),
    )
