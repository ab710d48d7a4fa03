"""Small forms of text that several kinds write or read."""

import re
from collections.abc import Iterable

from prompts import Seed

_BLOCK = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_STEP = re.compile(r"^\W*(?:step\s+)?\d+\s*[.):]|^\W*step\s+\d+", re.IGNORECASE | re.MULTILINE)
_PLAIN_START = re.compile(
    r"(?:Why|How|What|When|Where|Who|Which|Whether|The|A|An|From|Using|[A-Z][a-z]+ing)\b"
)


def python_blocks(reply: str) -> list[str]:
    """The contents of the fenced Python blocks."""
    return [block.strip("\n") for block in _BLOCK.findall(reply)]


def count_steps(text: str) -> int:
    """Lines that begin with a number or with "Step"."""
    return len(_STEP.findall(text))


def listed(points: Iterable[object]) -> str:
    """A bullet a line."""
    return "\n".join(f"- {point}" for point in points)


def in_sentence(title: str) -> str:
    """A title for the middle of a sentence: small first letter where it is no name."""
    return title[:1].lower() + title[1:] if _PLAIN_START.match(title) else title


def extract_topic(seed: Seed) -> str:
    """What an extract is about: its topic where it names one, else its first words."""
    return str(seed.get("topic") or " ".join(str(seed["text"]).split()[:12]))
