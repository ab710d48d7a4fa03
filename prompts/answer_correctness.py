"""A judge: whether an answer is correct."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._judge import read_verdict, verdict_schema

VERDICTS = {"correct": 1.0, "partly": 0.5, "wrong": 0.0}
SHOWN = (
    ("Which planet is nearest to the Sun?", "Mercury", "Venus is nearest, since it is the hottest.",
     "wrong", "The reference says Mercury, the answer says Venus."),
    ("What makes the tides?", "the Moon's gravity", "The pull of the Moon on the sea makes them.",
     "correct", "The pull of the Moon is its gravity, as in the reference."),
    ("Name the parts of a sentence.", "subject and predicate", "A subject, and sometimes a comma.",
     "partly", "The subject is right, the predicate is missing."),
)  # fmt: skip
SEED = {"question": "Why does ice float?", "answer": "it is less dense", "text": "It is cold."}


class AnswerCorrectness(TaskKind):
    """Judge: whether an answer is correct, partly so or wrong, with a reason."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    """What is judged: an answer, or a problem with its solution. A seed may also have `question`,
    and `answer`, the right one."""
    TRAINS: ClassVar[bool] = False

    characters: int = Field(3000, ge=100)
    """How much of the text is judged, from its beginning."""

    def messages(self, seed: Seed) -> list[Message]:
        shown: list[Message] = []
        for question, right, text, verdict, reason in SHOWN:
            told = json.dumps({"reason": reason, "verdict": verdict})
            shown += user(self._ask(question, right, text)) + assistant(told)
        question, right = (str(seed.get(column) or "") for column in ("question", "answer"))
        return shown + user(self._ask(question, right, str(seed["text"])[: self.characters]))

    def _ask(self, question: str, right: str, text: str) -> str:
        parts = [
            "Judge this answer." if question else "Judge whether the answer in this text is right.",
            f"Question: {question}" if question else "",
            f"Right answer: {right}" if right else "",
            f"Answer to judge: {text}" if question else f"Text: {text}",
            "First the reason in one sentence, then the verdict (correct, partly or wrong), as "
            "JSON.",
        ]
        return "\n".join(part for part in parts if part)

    def reply_schema(self) -> dict[str, Any]:
        return verdict_schema("verdict", list(VERDICTS))

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        verdict = read_verdict(reply, "verdict", list(VERDICTS))
        if isinstance(verdict, Refusal):
            return verdict
        meta = {**verdict, "score": VERDICTS[verdict["verdict"]]}
        return Draft(f"{verdict['verdict']}: {verdict['reason']}", meta=meta)

    def topic(self, seed: Seed) -> str:
        return str(seed.get("question") or seed.get("topic") or "")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply='{"reason": "Cold is not the cause.", "verdict": "wrong"}',
            text="wrong: Cold is not the cause.",
            meta={"verdict": "wrong", "score": 0.0},
        ),
        Example(
            seed={"text": "How many are 2 + 2?\nAnswer: 4"},
            reply='{"reason": "Two and two are four.", "verdict": "correct"}',
            text="correct: Two and two are four.",
            meta={"score": 1.0},
        ),
        Example(seed=SEED, reply='{"verdict": "correct"}', refused="unreadable_verdict"),
        Example(
            seed=SEED,
            reply='{"reason": "Nobody can say that.", "verdict": "unclear"}',
            refused="unreadable_verdict",
        ),
    )
