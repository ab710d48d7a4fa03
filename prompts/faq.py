"""A web document rephrased as questions and answers."""

import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._text import extract_topic

SHOWN = (
    "The new tram line opens in May. It has 14 stops, runs every ten minutes until midnight, and "
    "bicycles may be taken along outside the rush hour. Tickets are sold on the platform only."
)
EXAMPLE = """Q: When does the line open?
A: It opens in May.

Q: How long do I wait for a tram?
A: Ten minutes at most, and the last one leaves at midnight.

Q: Can I buy a ticket on the tram?
A: No, only on the platform, so come a minute earlier."""
_QUESTION = re.compile(r"^.*\w.*\?[\"*_ ]*$", re.MULTILINE)
SEED = {"text": "The ferry leaves at six. It takes bikes.", "topic": "ferries"}


class Faq(TaskKind):
    """A web document rephrased as questions that a reader would ask, with their answers."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}

    pairs: int = Field(4, ge=1)
    """The number of questions that is asked for."""
    min_pairs: int = Field(2, ge=1)
    """Fewer answered questions than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(self._ask(SHOWN)) + assistant(EXAMPLE) + user(self._ask(str(seed["text"])))

    def _ask(self, document: str) -> str:
        return (
            f"Document:\n{document}\n\n"
            f"Rewrite the document as {self.pairs} questions that a reader would ask, each with "
            "an answer that can be understood without the document. Cover its main facts in an "
            "order that helps a newcomer. Output only the questions and answers."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        found = found.cut("unanswered", _cut_last_question)
        pairs = len(_QUESTION.findall(found.text))
        if pairs < self.min_pairs:
            return Refusal("too_few_pairs", f"{pairs} questions, {self.min_pairs} wanted")
        return found.draft()

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Q: When does it leave?\nA: At six.\n\nQ: And a bike?\nA: Yes.\n\nQ: Where?",
            text="Q: When does it leave?\nA: At six.\n\nQ: And a bike?\nA: Yes.",
            meta={"stripped": [{"rule": "unanswered", "text": "Q: Where?"}]},
        ),
        Example(
            seed=SEED,
            knobs={"min_pairs": 1},
            reply="**1. When does the ferry leave?**\nIt leaves at six.",
            text="**1. When does the ferry leave?**\nIt leaves at six.",
        ),
        Example(seed=SEED, reply="The ferry leaves at six.", refused="too_few_pairs"),
        Example(
            seed=SEED,
            reply="Q: How long do I wait?\nA: Ten minutes at most, and the last one leaves at "
            "midnight.\n\nQ: Why?\nA: So.",
            refused="copies_the_example",
        ),
    )


def _cut_last_question(text: str) -> tuple[str, str]:
    """Without a question at the end that nobody answers."""
    head, _, last = text.rstrip().rpartition("\n")
    return (head.rstrip(), last) if _QUESTION.match(last) else (text, "")
