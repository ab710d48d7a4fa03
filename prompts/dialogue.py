"""A dialogue of two people in which one of them comes to understand something."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._speech import cut_last_line, wrong_speakers
from prompts._text import in_sentence

PAIRS = {
    "teacher_student": "Teacher and Student: the student is wrong once, says why, and corrects it "
    "with the teacher's help; the teacher answers with an example.",
    "two_experts": "Anders and Beatriz, two experts: they disagree on one point, each brings a "
    "fact, and they find out what would settle it.",
    "parent_child": "Parent and Child: the child of eight asks why again and again, the parent "
    "answers with things in the house.",
    "interview": "Reporter and Engineer: the reporter asks what it costs, what can fail and what "
    "it is good for; the engineer answers with cases and figures.",
}
SHOWN = {"topic": "Why bread rises", "focus": ["yeast makes gas", "gluten holds it"]}
EXAMPLE = """Teacher: You left the dough for an hour. What has changed?
Student: It is bigger. The water in it got warm and took more room.
Teacher: Then a bowl of warm water would grow as well. Does it?
Student: No. So it is not the water. Is it the yeast?
Teacher: The yeast eats sugar and gives off gas, a little bubble at a time.
Student: And the bubbles stay in because the dough is stretchy, like chewing gum?
Teacher: That is the gluten. Knead less, and the bubbles break out.
Student: That is why my first loaf was flat."""
SEED = {"topic": "Why ice floats", "category": "Physics", "focus": ["density"]}


class Dialogue(TaskKind):
    """A dialogue of two people in which a topic becomes clear, in one of four pairs."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "focus": list}

    pair: Literal["teacher_student", "two_experts", "parent_child", "interview"] = "teacher_student"
    """Who talks to whom."""
    lines: int = Field(10, ge=2)
    """The number of spoken lines that is asked for."""
    min_turns: int = Field(4, ge=2)
    """Fewer spoken lines than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        shown = self._ask(SHOWN, PAIRS["teacher_student"])
        return user(shown) + assistant(EXAMPLE) + user(self._ask(seed, PAIRS[self.pair]))

    def _ask(self, seed: Seed, pair: str) -> str:
        points = "; ".join(str(point) for point in seed["focus"])
        return (
            f"Write a dialogue of {self.lines} lines on {in_sentence(str(seed['topic']))}. It has "
            f"to make clear: {points}.\nThe speakers are {pair}\n"
            "Begin every line with the speaker's name. No greetings and no thanks."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), unfinished="keep")
        if isinstance(found, Refusal):
            return found
        found = found.cut("unfinished", cut_last_line)
        return wrong_speakers(found.text, self.min_turns, 2) or found.draft()

    def format(self) -> str:
        return f"dialogue_{self.pair}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"min_turns": 2},
            reply="Teacher: Does ice sink?\nStudent: It floats.\nTeacher: So it is",
            text="Teacher: Does ice sink?\nStudent: It floats.",
        ),
        Example(
            seed=SEED,
            knobs={"pair": "parent_child", "min_turns": 3},
            reply="Child: Why?\nParent: It is light.\nChild: Lighter than me?",
            text="Child: Why?\nParent: It is light.\nChild: Lighter than me?",
        ),
        Example(seed=SEED, reply="Ice floats since it is light.", refused="too_few_turns"),
        Example(
            seed=SEED,
            reply="Teacher: It is not the water, it is something else.\nStudent: That is the "
            "gluten. Knead less, and the bubbles break out.\nTeacher: Yes.\nStudent: I see.",
            refused="copies_the_example",
        ),
    )
