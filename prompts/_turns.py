"""Turns of a conversation as they go into a sample."""

import re

from prompts import Draft, Message, Refusal, Seed
from prompts._reply import clean

_SPEAKER = re.compile(r"^[*_# ]*(user|assistant)[*_ ]*:[*_ ]*", re.IGNORECASE | re.MULTILINE)
LONGEST = 120
"""Words of a user's message at most: what is longer is an answer."""


def clean_answers(messages: list[Message]) -> Draft | Refusal:
    """A conversation with its answers cleaned."""
    turns: list[Message] = []
    stripped: list[dict[str, str]] = []
    for number, message in enumerate(messages):
        content = message["content"].strip()
        if message["role"] == "assistant":
            found = clean(content, {}, [])
            if isinstance(found, Refusal):
                return found
            content = found.text
            stripped += [{**cut, "turn": str(number)} for cut in found.stripped]
        turns.append({"role": message["role"], "content": content})
    answers = [turn["content"].casefold() for turn in turns if turn["role"] == "assistant"]
    if len(set(answers)) < len(answers):
        return Refusal("repeats_an_answer")
    return Draft(messages=tuple(turns), meta={"stripped": stripped} if stripped else {})


def written_turns(
    reply: str, seed: Seed, asked: list[Message], pairs: int
) -> list[Message] | Refusal:
    """`pairs` messages of a user's with their answers, from lines that begin with User: and
    Assistant:. What follows them is another conversation and is left out."""
    found = clean(reply, seed, asked, unfinished="keep")
    if isinstance(found, Refusal):
        return found
    parts = _SPEAKER.split(found.text)
    said = list(zip(parts[1::2], parts[2::2], strict=True))[: 2 * pairs]
    turns = [{"role": role.lower(), "content": text.strip().strip('"')} for role, text in said]
    roles = [turn["role"] for turn in turns]
    if len(turns) < 2 * pairs or roles != ["user", "assistant"] * pairs:
        return Refusal("no_turns", ", ".join(roles) or found.text[:200])
    for turn in turns[::2]:
        if not 3 <= len(turn["content"].split()) <= LONGEST:
            return Refusal("no_user_message", turn["content"][:200])
    if {turn["content"].casefold() for turn in turns[::2]} & {
        turn["content"].casefold() for turn in turns[1::2]
    }:
        return Refusal("repeats_the_user")
    return turns
