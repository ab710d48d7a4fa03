"""A short article in the manner of a scientific journal."""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import FACTUAL, NO_CLICHES, pick
from prompts._reply import clean
from prompts._text import in_sentence, listed

FORMS = {
    "review": "It is a review: say what is known, which two explanations compete, what speaks for "
    "each, and which measurement would decide between them.",
    "experiment": "It reports one experiment: the question, what was measured and how, the result "
    "with numbers and units, and what else could have caused it.",
    "method": "It explains a method: what it is for, its steps, what it assumes, how its error is "
    "estimated, and when another method is better.",
}
_REFERENCES = re.compile(r"\n\W*(?:references|bibliography|works cited)\W*\n.*\Z", re.I | re.S)
_CITED = re.compile(r"\bet al\b|\((?:19|20)\d\d\)|\bdoi\b", re.IGNORECASE)


def _cut_references(text: str) -> tuple[str, str]:
    start = found.start() if (found := _REFERENCES.search(text)) else len(text)
    return text[:start], text[start:].strip()


SEED = {"topic": "Why ice floats", "category": "Physics", "focus": ["density"]}


class ScientificArticle(TaskKind):
    """A short article in the manner of a scientific journal: review, experiment or method."""

    NEEDS: ClassVar[Mapping[str, type]] = {"topic": str, "category": str, "focus": list}

    style: Literal["review", "experiment", "method"] = "review"
    """What the article reports."""
    words: int = Field(600, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f"Write a short scientific article in {seed['category']} on "
            f"{in_sentence(str(seed['topic']))}. It deals with:\n{listed(seed['focus'])}\n"
            f"{FORMS[self.style]} Keep to established facts and invent no authors, years or "
            f"sources. About {self.words} words in paragraphs, exact and without praise. "
            f"{pick(FACTUAL, self.topic(seed))} {NO_CLICHES}"
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        found = found.cut("references", _cut_references)
        if cited := _CITED.search(found.text):
            return Refusal("invents_a_source", cited.group())
        return found.draft()

    def format(self) -> str:
        return f"scientific_article_{self.style}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Ice has a density of 917 kg/m3.\n\nReferences\n1. Nobody, 1999.",
            text="Ice has a density of 917 kg/m3.",
            meta={"stripped": [{"rule": "references", "text": "References\n1. Nobody, 1999."}]},
        ),
        Example(
            seed=SEED,
            knobs={"style": "experiment"},
            reply="Ten cubes were weighed in oil. All of them sank.",
            text="Ten cubes were weighed in oil. All of them sank.",
        ),
        Example(
            seed=SEED, reply="As Smith et al. have shown, ice floats.", refused="invents_a_source"
        ),
        Example(seed=SEED, reply="I'm unable to write this.", refused="model_declined"),
    )
