"""What is cut off a reply, and what makes it no sample whatever the kind.

Cut: preambles, labels, chat marks, closing remarks, instructions that leak at its ends, loops
and unfinished sentences at its end. What was cut stays in the sample's `meta` as `stripped`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prompts import Draft, Message, Refusal, Seed
from prompts._sentences import cut_loop, cut_unfinished, is_english

SHOWN = 200
"""Characters of a cut that `meta` keeps; the whole reply stays in the completions stage."""

_DECLINED = re.compile(
    r"\A\W*(?:i['’]m sorry|i am sorry|sorry,|i can(?:no|['’])t|i(?: a|['’])m unable|as an ai\b)"
    r"|\b(?:as an ai (?:language )?model|(?:i(?:['’]m| am)|you are) an? (?:helpful )?ai\b)",
    re.IGNORECASE,
)
_HEAD = (
    ("chat_mark", re.compile(r"\A\s*(?:<\|im_start\|>)?\s*assistant\s*[:\n]\s*", re.IGNORECASE)),
    (
        "preamble",
        re.compile(
            r"\A\s*(?:sure|certainly|of course|absolutely|okay|great)\b[^\n]{0,200}\n+"
            r"|\A\s*(?:sure|certainly|of course|absolutely)[,!][^.!\n]{0,120}[.!:]\s+"
            r"|\A\s*here(?:'s|’s| is| are)\b[^\n]{0,200}:\s*\n+",
            re.IGNORECASE,
        ),
    ),
    (
        "label",
        re.compile(
            r"\A\s*(?:\*\*|#+ *)?(?:title|story|response|answer|text|lesson|post):(?:\*\*)?\s*",
            re.IGNORECASE,
        ),
    ),
    ("heading", re.compile(r"\A\s*[*#_ ]*introduction[*#_: ]*\n+", re.IGNORECASE)),
)
_TAIL = (
    ("chat_mark", re.compile(r"\s*<\|(?:im_end|endoftext|im_start)\|>.*\Z", re.DOTALL)),
    (
        "closing",
        re.compile(
            r"\n\s*\W{0,3}(?:i hope (?:this|that|you)|let me know|feel free|please let me know|"
            r"would you like me|word count|\(?note:|this (?:story|section|text|article|post) "
            r"(?:is|was) (?:written|about \d+ words))[^\n]*\s*\Z",
            re.IGNORECASE,
        ),
    ),
)
_PLACEHOLDER = re.compile(
    r"\[(?:insert|your|the|name|date|topic|title|city|company|author|user)\b[^\]\n]{0,60}\](?!\()",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\A\s*```(?:markdown|text|plaintext|md)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_LEAK = 8
"""Words in a row that a reply may not share with what the prompt says around the seed."""


@dataclass(frozen=True)
class Reply:
    """A cleaned reply; `draft` carries what was stripped into the sample."""

    text: str
    stripped: tuple[dict[str, str], ...] = ()

    def cut(self, rule: str, cut: Callable[[str], tuple[str, str]]) -> "Reply":
        """The reply after a cut of the kind's own: a function that gives what stays and what
        goes."""
        text, gone = cut(self.text)
        if not gone:
            return self
        return Reply(text, (*self.stripped, {"rule": rule, "text": gone[:SHOWN]}))

    def draft(self, text: str | None = None, messages: Sequence[Message] = ()) -> Draft:
        meta: dict[str, Any] = {"stripped": list(self.stripped)} if self.stripped else {}
        kept = "" if messages else (self.text if text is None else text)
        return Draft(kept.strip(), tuple(messages), meta)


def declines(reply: str) -> bool:
    """Whether the model declines or speaks of itself in place of an answer."""
    return _DECLINED.search(reply) is not None


def prose(reply: str, seed: Seed, asked: Sequence[Message]) -> Draft | Refusal:
    """The sample of a kind whose whole reply is running text."""
    found = clean(reply, seed, asked)
    return found if isinstance(found, Refusal) else found.draft()


def clean(
    reply: str,
    seed: Seed,
    asked: Sequence[Message],
    *,
    unfinished: Literal["cut", "keep"] = "cut",
    english: bool = True,
    loops: Literal["cut", "keep"] = "cut",
) -> Reply | Refusal:
    """`asked` is the prompt: what stands in it and not in the seed may not stand in the reply.
    `unfinished`: what becomes of a last sentence without an end; a kind whose replies end in
    lines of another form keeps it and cuts by itself, and so for `loops`."""
    if declines(reply):
        return Refusal("model_declined")
    cuts: list[tuple[str, str]] = []
    text = _wrapping(reply, cuts)
    for problem in (_copied(text, asked), _leak(text, seed, asked, cuts)):
        if isinstance(problem, Refusal):
            return problem
        text = problem or text
    if found := _PLACEHOLDER.search(text):
        return Refusal("placeholder", found.group())
    for rule, cut in (("loop", cut_loop), ("unfinished", cut_unfinished)):
        if (loops if rule == "loop" else unfinished) == "keep":
            continue
        kept, rest = cut(text)
        if rest:
            if len(kept) < len(rest):
                return Refusal("loops" if rule == "loop" else rule, rest[-SHOWN:])
            cuts.append((rule, rest))
            text = kept
    if english and not is_english(text):
        return Refusal("not_english", text[:SHOWN])
    return Reply(text.strip(), tuple({"rule": rule, "text": cut[:SHOWN]} for rule, cut in cuts))


def _wrapping(reply: str, cuts: list[tuple[str, str]]) -> str:
    text = reply.strip()
    if found := _WRAPPED.match(text):
        cuts.append(("fence", text[:20]))
        text = found[1].strip()
    for rule, pattern in _HEAD:
        if (head := pattern.match(text)) and head.end() < len(text):
            cuts.append((rule, head.group().strip()))
            text = text[head.end() :].lstrip()
    for rule, pattern in _TAIL:
        while (tail := pattern.search(text)) and tail.start() > 0:
            cuts.append((rule, tail.group().strip()))
            text = text[: tail.start()].rstrip()
    return text


def _runs(text: str, size: int = _LEAK) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def _copied(text: str, asked: Sequence[Message]) -> Refusal | None:
    """Whether the reply takes words from an answer that the prompt shows as an example."""
    shown = [message["content"] for message in asked if message["role"] == "assistant"]
    common = _runs(text) & set().union(*map(_runs, shown))
    return Refusal("copies_the_example", " ".join(sorted(common)[0])) if common else None


def _leak(
    text: str, seed: Seed, asked: Sequence[Message], cuts: list[tuple[str, str]]
) -> str | Refusal:
    """The text without lines at its ends that repeat the instructions."""
    told = "\0".join(message["content"] for message in asked if message["role"] != "assistant")
    for value in _texts(seed):
        told = told.replace(value, "\0")
    runs = set().union(*map(_runs, told.split("\0")))
    if not _runs(text) & runs:
        return text
    lines = text.splitlines()
    for end in (0, -1):
        while lines and (_runs(lines[end]) & runs or not lines[end].strip()):
            line = lines.pop(end)
            if line.strip():
                cuts.append(("instructions", line))
    kept = "\n".join(lines)
    if _runs(kept) & runs or 2 * len(kept) < len(text):
        return Refusal("leaks_instructions", " ".join(sorted(_runs(text) & runs)[0]))
    return kept


def _texts(value: Any) -> list[str]:
    """All texts in a seed, the longest first."""
    if isinstance(value, str):
        return [value] if value else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sorted((text for item in inner for text in _texts(item)), key=len, reverse=True)
