"""Cuts that several kinds make in a reply."""

import re

_PREAMBLE = re.compile(
    r"\A\s*(?:sure|certainly|of course|absolutely|okay|great)\b[^\n]{0,200}\n+"
    r"|\A\s*here(?:'s| is| are)\b[^\n]{0,200}:\s*\n+",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\A\W*(?:i['’]m sorry|i am sorry|sorry,|i can(?:no|['’])t|i(?: a|['’])m unable|as an ai\b)",
    re.IGNORECASE,
)
_TITLE = re.compile(r"\A\s*(?:\*\*|#+ *)?title:\s*", re.IGNORECASE)
_BLOCK = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def strip_preamble(reply: str) -> str:
    """Without "Sure, here is ...:" before the text and a leading "Title:" label."""
    return _TITLE.sub("", _PREAMBLE.sub("", reply, count=1), count=1).strip()


def is_refusal(reply: str) -> bool:
    """Whether the model declines or speaks of itself in place of an answer."""
    return _REFUSED.match(reply) is not None


def python_blocks(reply: str) -> list[str]:
    """The contents of the fenced Python blocks."""
    return [block.strip("\n") for block in _BLOCK.findall(reply)]


def listed(points: list[str]) -> str:
    """A bullet a line."""
    return "\n".join(f"- {point}" for point in points)
