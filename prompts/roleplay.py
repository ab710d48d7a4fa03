"""A scene played by its characters, a speaker's name before each line."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._speech import cut_last_line, wrong_speakers
from prompts._text import listed

SHOWN = {
    "scene": "A harbour office at dusk; a crate has been delivered to the wrong pier.",
    "characters": ["Odile, the harbour clerk, exact and dry", "Bram, a cheerful docker"],
    "goal": "find the owner of the crate before the tide turns",
}
EXAMPLE = """Odile: The list says pier four, and this is pier six.
Bram (scratching his head): Four, six, the sea is the same.
Odile: The owner will not say so. Read me the label.
Bram: It smells of oranges. We could just keep one.
Odile: We could not. The label, please.
Bram: "Verhoeven, fruit." He drinks his coffee next door!
Odile: Then fetch him, and take your hand out of the crate.
Bram (laughing): You see everything. I am on my way."""
SEED = {"scene": "A kitchen.", "characters": ["Ana, a cook", "Bo"], "goal": "eat"}


class Roleplay(TaskKind):
    """A scene played by its characters, a speaker's name before each line."""

    NEEDS: ClassVar[Mapping[str, type]] = {"scene": str, "characters": list, "goal": str}
    TAG: ClassVar[str | None] = "Roleplay"

    lines: int = Field(10, ge=2)
    """The number of spoken lines that is asked for."""
    min_turns: int = Field(4, ge=2)
    """Fewer spoken lines than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(self._ask(SHOWN)) + assistant(EXAMPLE) + user(self._ask(seed))

    def _ask(self, seed: Seed) -> str:
        return (
            f"Play this scene. {seed['scene']} They have to {seed['goal']}.\n"
            f"Characters:\n{listed(seed['characters'])}\n"
            f"Write {self.lines} short lines of dialogue. Let each keep their own manner, let "
            "them disagree once and then agree. Begin every line with the speaker's name."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), unfinished="keep")
        if isinstance(found, Refusal):
            return found
        found = found.cut("unfinished", cut_last_line)
        if "Odile" in found.text or "Bram" in found.text:
            return Refusal("copies_the_example")
        problem = wrong_speakers(found.text, self.min_turns, len(seed["characters"]) + 1)
        return problem or found.draft(f"Scene: {seed['scene']}\n\n{found.text}")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="Ana: Salt!\nBo: Where?\nAna (pointing): There.\nBo: Thanks.\nAna: And now",
            text="Scene: A kitchen.\n\nAna: Salt!\nBo: Where?\nAna (pointing): There.\nBo: Thanks.",
            meta={"stripped": [{"rule": "unfinished", "text": "Ana: And now"}]},
        ),
        Example(
            seed=SEED,
            knobs={"min_turns": 2},
            reply="Sure, here it is:\n**Ana:** Salt!\n**Bo:** Where?",
            text="Scene: A kitchen.\n\n**Ana:** Salt!\n**Bo:** Where?",
        ),
        Example(
            seed=SEED,
            reply="Ana and Bo cook a soup together and then they eat it.",
            refused="too_few_turns",
        ),
        Example(
            seed=SEED,
            reply="Ana: Salt.\nAna: Pepper.\nAna: Oil.\nAna: Done.",
            refused="one_speaker",
        ),
        Example(
            seed=SEED,
            reply="Ana: Salt.\nBo: No.\nCy: Why?\nDan: Oil.",
            refused="too_many_speakers",
        ),
        Example(
            seed=SEED,
            reply="Odile: Salt.\nAna: Pepper.\nOdile: Oil.\nAna: Done.",
            refused="copies_the_example",
        ),
    )
