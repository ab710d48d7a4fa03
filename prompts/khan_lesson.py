"""A lesson as an online tutor gives it."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import FACTUAL, NO_CLICHES, pick
from prompts._reply import Reply, clean
from prompts._text import in_sentence, listed

LEVELS = {
    "grade_school": "The learner is in grade school: everyday words, small numbers, and pictures "
    "told in words.",
    "high_school": "The learner is in high school: use the proper terms, and say how a rule "
    "follows from one that is known.",
    "college": "The learner is in college: give the general case after the example, and one case "
    "in which it fails.",
}
CHECK = (
    "Write one test question about this lesson, on a new case, and below it the answer with its "
    "reason. Begin them with Question: and Answer:"
)
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
            f"Write a lesson of an online course in {seed['category']} on "
            f"{in_sentence(str(seed['topic']))}. Explain these points, in whole paragraphs:\n"
            f"{listed(seed['focus'])}\n{known}"
            f"{LEVELS.get(str(seed.get('level')), LEVELS['high_school'])} Speak to the reader as "
            "you, as a patient tutor does, and work through one example step by step. "
            f"Write about {self.words} words of plain prose. "
            f"{pick(FACTUAL, self.topic(seed))} {NO_CLICHES}"
        )

    def follow_up(self, seed: Seed, turns: list[Message]) -> str | None:
        return CHECK if len(turns) == 1 else None

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        return Refusal("no_question", "the exchange ended after the lesson")

    def parse_exchange(self, messages: list[Message], seed: Seed) -> Draft | Refusal:
        lesson = clean(messages[1]["content"], seed, self.messages(seed))
        if isinstance(lesson, Refusal):
            return lesson
        check = clean(messages[3]["content"], seed, [messages[2]])
        if isinstance(check, Refusal):
            return check
        if "?" not in check.text:
            return Refusal("no_question", check.text[:200])
        if check.text in lesson.text:
            return Refusal("repeats_the_lesson")
        return Reply(f"{lesson.text}\n\n{check.text}", lesson.stripped + check.stripped).draft()

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Let us weigh a cube of ice. It is light. An",
            replies=("Does it sink in oil? It does, for oil is lighter.",),
            text="Let us weigh a cube of ice. It is light.\n\n"
            "Does it sink in oil? It does, for oil is lighter.",
            meta={"stripped": [{"rule": "unfinished", "text": "An"}]},
        ),
        Example(
            seed={**SEED, "covered": ["Mass and volume"]},
            reply="Lesson: We know mass.",
            replies=("Sure! Here is one:\n\nWhat of ice? It floats.",),
            text="We know mass.\n\nWhat of ice? It floats.",
        ),
        Example(seed=SEED, reply="Ice is light.", replies=("It floats.",), refused="no_question"),
        Example(
            seed=SEED,
            reply="I am sorry, I cannot teach.",
            replies=("Does ice float? Yes.",),
            refused="model_declined",
        ),
    )
