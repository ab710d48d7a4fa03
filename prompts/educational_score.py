"""A judge: how much a text teaches, from 0 to 5, with a reason."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._judge import read_verdict, verdict_schema

SCORES = [0, 1, 2, 3, 4, 5]
SHOWN = (
    ("Hello there! Buy now and save! Click here for our best offers of the season.", 0,
     "An advertisement that teaches nothing."),
    ("A lever turns a small force into a large one. Push down 1 metre with 10 newtons on the long "
     "arm, and the short arm lifts 50 newtons by 20 centimetres: the work is the same.", 5,
     "It states a principle, explains it and checks it with numbers."),
    ("Many people like bread. Bread is made of flour. It is nice to bake, and it smells good.", 2,
     "It names facts but explains none of them."),
)  # fmt: skip
SEED = {"text": "Ice floats because it is less dense than water."}


class EducationalScore(TaskKind):
    """Judge: how much a text teaches, from 0 to 5, with a reason."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}
    TRAINS: ClassVar[bool] = False

    characters: int = Field(3000, ge=100)
    """How much of the text is judged, from its beginning."""

    def messages(self, seed: Seed) -> list[Message]:
        shown = [
            message
            for text, score, reason in SHOWN
            for message in (
                *user(self._ask(text)),
                *assistant(json.dumps({"reason": reason, "score": score})),
            )
        ]
        return shown + user(self._ask(str(seed["text"])[: self.characters]))

    def _ask(self, text: str) -> str:
        return (
            "How much can somebody learn from this text? One point each: it keeps to a subject; "
            "it states facts; it explains why; it gives an example or a calculation; it is "
            "correct and clear. 0 for advertising, loops or nonsense. First the reason in one "
            f"sentence, then the score from 0 to 5, as JSON.\n\nText: {text}"
        )

    def reply_schema(self) -> dict[str, Any]:
        return verdict_schema("score", SCORES)

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        verdict = read_verdict(reply, "score", SCORES)
        if isinstance(verdict, Refusal):
            return verdict
        return Draft(f"{verdict['score']}: {verdict['reason']}", meta=verdict)

    def topic(self, seed: Seed) -> str:
        return str(seed.get("topic") or "")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply='{"reason": "It explains one fact.", "score": 3}',
            text="3: It explains one fact.",
            meta={"score": 3, "reason": "It explains one fact."},
        ),
        Example(
            seed=SEED,
            reply='{"reason": "It is only an advertisement.", "score": 0}',
            text="0: It is only an advertisement.",
            meta={"score": 0},
        ),
        Example(seed=SEED, reply="Score: 4 out of 5", refused="unreadable_verdict"),
        Example(
            seed=SEED,
            reply='{"reason": "It explains one fact.", "score": 7}',
            refused="unreadable_verdict",
        ),
        Example(seed=SEED, reply='{"reason": "good", "score": 4}', refused="no_reason"),
    )
