"""A short story around three words and a theme."""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._text import is_refusal, strip_preamble

READERS = {
    "young_children": "The readers are six years old: short sentences, simple words, one clear "
    "problem, and a warm end.",
    "problem_solving": "A person meets a practical problem, tries something that fails, thinks "
    "about why, and then finds a way that works.",
    "morality": "A person has to choose between what is easy and what is right; show what the "
    "choice costs and do not state the moral.",
}


class Story(TaskKind):
    """A short story around three words and a theme."""

    NEEDS: ClassVar[Mapping[str, type]] = {"theme": str, "noun": str, "verb": str, "adjective": str}

    audience: Literal["young_children", "problem_solving", "morality"] = "young_children"
    words: int = Field(500, ge=40)
    """The length that is asked for."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(
            f"Write a story of about {self.words} words about {seed['theme']}. Use the words "
            f'"{seed["noun"]}", "{seed["verb"]}" and "{seed["adjective"]}". '
            f"{READERS[self.audience]} Give the people names, let them speak, and do not begin "
            "with a stock phrase. Write only the story and bring it to its end."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        if is_refusal(reply):
            return Refusal("model_declined")
        text = strip_preamble(reply)
        wanted = [str(seed[column]).lower() for column in ("noun", "verb", "adjective")]
        words = set(re.findall(r"\w+", text.lower()))
        if not any(word[:4] in {found[: len(word[:4])] for found in words} for word in wanted):
            return Refusal("ignores_the_words", ", ".join(wanted))
        return Draft(text)

    def format(self) -> str:
        return f"story_{self.audience}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed={"theme": "sharing", "noun": "kite", "verb": "mend", "adjective": "windy"},
            reply="Here is a story:\n\nMina's kite tore on a windy hill, and Leo helped.",
            text="Mina's kite tore on a windy hill, and Leo helped.",
        ),
        Example(
            seed={"theme": "sharing", "noun": "kite", "verb": "mend", "adjective": "windy"},
            knobs={"audience": "morality"},
            reply='"I mended it," said Ada, although nobody had asked her to.',
            text='"I mended it," said Ada, although nobody had asked her to.',
        ),
        Example(
            seed={"theme": "sharing", "noun": "kite", "verb": "mend", "adjective": "windy"},
            reply="Two friends met at the lake and talked about soup.",
            refused="ignores_the_words",
        ),
        Example(
            seed={"theme": "sharing", "noun": "kite", "verb": "mend", "adjective": "windy"},
            reply="As an AI, I have no stories of my own.",
            refused="model_declined",
        ),
    )
