"""A conversation of several turns between a user and a persona."""

import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._speech import cut_last_line, speeches

SHOWN = {
    "name": "Tamsin",
    "persona": "a lock keeper on a slow canal, forty years in the same cottage",
    "manner": "unhurried, compares everything with water",
    "scenario": "getting a boat into a lock that seems too short",
}
EXAMPLE = """User: Hello? My boat is stuck at your gate. It is too long, I think.
Tamsin: Nothing is too long, it only lies the wrong way. Turn her a little, as the current would.
User: I tried. The back end hits the wall.
Tamsin: Then pull up the fenders; they take a hand's width on each side. Water finds its way.
User: It moved! But it is still tight.
Tamsin: Tight is fine. I let the water in slowly, you keep her in the middle with the pole."""
SEED = {"name": "Ilo", "persona": "a baker", "manner": "dry", "scenario": "buying bread"}
CARD = "You are Ilo: a baker. Manner: dry. The user comes for this: buying bread."


class RoleplayPersona(TaskKind):
    """A conversation of several turns with a persona, its card as the system message."""

    NEEDS: ClassVar[Mapping[str, type]] = {
        "name": str,
        "persona": str,
        "manner": str,
        "scenario": str,
    }
    TAG: ClassVar[str | None] = "Roleplay"

    turns: int = Field(3, ge=1, le=12)
    """How often each of the two speaks in the conversation that is asked for."""
    min_turns: int = Field(2, ge=1)
    """Fewer answers of the persona's than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(self._ask(SHOWN)) + assistant(EXAMPLE) + user(self._ask(seed))

    def _ask(self, seed: Seed) -> str:
        return (
            f"{seed['name']} is {seed['persona']}. Manner: {seed['manner']}. The user comes for "
            f"this: {seed['scenario']}.\nWrite the conversation between the user and "
            f"{seed['name']}: {2 * self.turns} lines, by turns, the user first. Begin each line "
            f"with User: or {seed['name']}: and let {seed['name']} stay in character."
        )

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(reply, seed, self.messages(seed), unfinished="keep")
        if isinstance(found, Refusal):
            return found
        found = found.cut("unfinished", cut_last_line)
        name = str(seed["name"])
        if name != SHOWN["name"] and SHOWN["name"] in found.text:
            return Refusal("copies_the_example")
        turns = self._turns(found.text, name)
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        if len(answers) < self.min_turns:
            return Refusal("too_few_turns", f"{len(answers)} answers, {self.min_turns} wanted")
        if len({answer.casefold() for answer in answers}) < len(answers):
            return Refusal("repeats_an_answer")
        card = (
            f"You are {name}: {seed['persona']}. Manner: {seed['manner']}. "
            f"The user comes for this: {seed['scenario']}."
        )
        return found.draft(messages=[{"role": "system", "content": card}, *turns])

    def _turns(self, text: str, name: str) -> list[Message]:
        """User and persona by turns, from the user's first line to the persona's last; lines of
        one speaker in a row are one turn."""
        first = re.findall(r"\w+", name.lower())
        turns: list[Message] = []
        for speaker, said in speeches(text):
            known = set(re.findall(r"\w+", speaker.lower()))
            role = "assistant" if known & set(first) else "user" if "user" in known else ""
            if not role or not said or (not turns and role == "assistant"):
                continue
            if turns and turns[-1]["role"] == role:
                turns[-1] = {"role": role, "content": f"{turns[-1]['content']}\n{said}"}
            else:
                turns.append({"role": role, "content": said})
        return turns[: len(turns) - len(turns) % 2]

    def topic(self, seed: Seed) -> str:
        return str(seed["persona"])

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            knobs={"min_turns": 1},
            reply="User: A loaf, please.\nIlo: Sold out.\nUser: Then a roll.\nIlo: Take",
            messages=(
                {"role": "system", "content": CARD},
                {"role": "user", "content": "A loaf, please."},
                {"role": "assistant", "content": "Sold out."},
            ),
        ),
        Example(
            seed=SEED,
            knobs={"min_turns": 1},
            reply="Ilo: Next!\n**User:** Two rolls.\nQuick.\n**Ilo** (sighs): Here.",
            messages=(
                {"role": "system", "content": CARD},
                {"role": "user", "content": "Two rolls.\nQuick."},
                {"role": "assistant", "content": "Here."},
            ),
        ),
        Example(seed=SEED, reply="User: Bread?\nIlo: No.", refused="too_few_turns"),
        Example(
            seed=SEED,
            reply="User: Bread?\nIlo: No.\nUser: Rolls?\nIlo: No.",
            refused="repeats_an_answer",
        ),
        Example(
            seed=SEED,
            reply="User: Bread?\nTamsin: Water finds its way.",
            refused="copies_the_example",
        ),
    )
