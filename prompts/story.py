"""A short story from a premise, in one of six styles."""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, user
from prompts._openings import NARRATED, NO_CLICHES, pick
from prompts._reply import clean

STYLES = {
    "young_children": "The readers are six years old: short sentences, simple words, one clear "
    "problem, people or animals with names who speak, and a warm end.",
    "morality": "A person has to choose between what is easy and what is right; show what the "
    "choice costs, let others judge it differently, and do not state the moral.",
    "problem_solving": "A person meets a practical problem, tries something that fails, thinks "
    "about why, and then finds a way that works.",
    "forum_post": "Tell it as a post in a forum by the one it happened to: first person, relaxed, "
    "what led to it, what you did and how it ended, and one question to the members at the end.",
    "reddit_post": "Tell it as a post on a large discussion site: first person, blunt and funny, "
    "the conflict at once, then the background, a turn that nobody expects, and last a short "
    "update on what happened since.",
    "life_lessons": "An older person tells a younger one what happened many years ago, what they "
    "got wrong then and what they do differently since; no general advice.",
}
WORDS = ("noun", "verb", "adjective")
SEED = {"premise": "A girl finds a kite that belongs to her worst rival.", "theme": "fairness"}


class Story(TaskKind):
    """A short story from a premise, for children or grown-ups, in one of six styles."""

    NEEDS: ClassVar[Mapping[str, type]] = {"premise": str}

    style: Literal[
        "young_children",
        "morality",
        "problem_solving",
        "forum_post",
        "reddit_post",
        "life_lessons",
    ] = "young_children"
    """For whom and in whose voice it is told."""
    words: int = Field(500, ge=40)
    """The length that is asked for."""
    noun: str = ""
    """See `adjective`."""
    verb: str = ""
    """See `adjective`."""
    adjective: str = ""
    """Words that the story has to use; drawn at random they keep stories apart."""

    @property
    def audience(self) -> str:
        return "young_children" if self.style == "young_children" else "general"

    def messages(self, seed: Seed) -> list[Message]:
        wanted = [f'"{word}"' for word in self._wanted()]
        used = f"Use the words {', '.join(wanted)}. " if wanted else ""
        return user(
            f"Write a story of about {self.words} words from this premise: {seed['premise']} "
            f"{STYLES[self.style]} {used}{pick(NARRATED, self.topic(seed))} {NO_CLICHES} "
            "Write only the story and bring it to its end."
        )

    def _wanted(self) -> list[str]:
        return [word for word in (self.noun, self.verb, self.adjective) if word]

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed))
        if isinstance(found, Refusal):
            return found
        stems = [word.lower()[:4] for word in self._wanted()]
        words = re.findall(r"\w+", found.text.lower())
        if stems and not any(word.startswith(stem) for word in words for stem in stems):
            return Refusal("ignores_the_words", ", ".join(self._wanted()))
        return found.draft()

    def format(self) -> str:
        return f"story_{self.style}"

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"noun": "kite", "verb": "mend", "adjective": "windy"},
            reply="Here is a story:\n\nMina's kite tore on a windy hill, and Leo helped. Then th",
            text="Mina's kite tore on a windy hill, and Leo helped.",
        ),
        Example(
            seed=SEED,
            knobs={"style": "morality"},
            reply='"I mended it," said Ada, although nobody had asked her to.',
            text='"I mended it," said Ada, although nobody had asked her to.',
        ),
        Example(
            seed=SEED,
            reply="The kite flew over the hill. " * 2 + "She ran after the kite. " * 9,
            refused="loops",
        ),
        Example(
            seed=SEED,
            knobs={"noun": "lantern"},
            reply="Two friends met at the lake and talked about soup.",
            refused="ignores_the_words",
        ),
        Example(
            seed=SEED,
            reply="As an AI, I have no stories of my own.",
            refused="model_declined",
        ),
    )
