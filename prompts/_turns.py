"""Turns of a conversation as they go into a sample."""

import re

from prompts import Draft, Message, Refusal, Seed
from prompts._reply import clean, declines

_LABEL = re.compile(
    r"\A\W*(?:(?:the )?user(?:'s)?(?: request| message| next message)?|request|message|"
    r"instruction)\W*:\s*",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\n\s*\W{0,3}(?:assistant|answer|response)\W{0,3}:", re.IGNORECASE)
QUOTES = "\"“”' "
LONGEST = 120
"""Words of a user's message at most: what is longer is an answer."""


def clean_answers(messages: list[Message]) -> Draft | Refusal:
    """A conversation with its answers cleaned, each against the message before it; answers that
    are cut at their end are so only in the last turn."""
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


def user_message(reply: str, asked: list[Message], seed: Seed) -> str | Refusal:
    """What a model wrote in a user's name, without labels, quotes and an answer behind it."""
    if declines(reply):
        return Refusal("model_declined")
    text = _ANSWER.split(_LABEL.sub("", reply.strip(), count=1), maxsplit=1)[0]
    found = clean(text, seed, asked, unfinished="keep")
    if isinstance(found, Refusal):
        return found
    text = _LABEL.sub("", found.text, count=1).strip()
    if text[:1] in QUOTES and text[-1:] in QUOTES:
        text = text.strip(QUOTES)
    if len(text.split()) < 3:
        return Refusal("no_user_message", text)
    if len(text.split()) > LONGEST:
        return Refusal("long_user_message", f"{len(text.split())} words")
    return text
