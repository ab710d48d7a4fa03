"""Text for a terminal: on one line, with its control characters visible, or as a diff."""

import difflib
import re
from collections.abc import Iterator

from rich.text import Text

CONTEXT = 8
"""Unchanged words shown on each side of a change."""


def visible(text: str) -> str:
    """Control characters escaped, so that a reply cannot steer the terminal; lines stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def one_line(text: str) -> str:
    escaped = text.replace("\n", "⏎")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)


def ends(text: str, width: int) -> str:
    """The start and the end of a text on one line."""
    return one_line(text if len(text) <= 2 * width else f"{text[:width]} … {text[-width:]}")


def changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """`same`, `gone` and `new` pieces, by words."""
    old, new = (re.findall(r"\S+\s*|\s+", text) for text in (before, after))
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    stop = 0
    while stop < min(len(old), len(new)) - start and old[-1 - stop] == new[-1 - stop]:
        stop += 1
    yield "same", "".join(old[:start])
    left, right = old[start : len(old) - stop], new[start : len(new) - stop]
    for op, a, b, c, d in difflib.SequenceMatcher(None, left, right).get_opcodes():
        if op == "equal":
            yield "same", "".join(left[a:b])
        else:
            yield "gone", "".join(left[a:b])
            yield "new", "".join(right[c:d])
    yield "same", "".join(old[len(old) - stop :])


def diff(before: str, after: str) -> Text:
    """The changes, unchanged words far from any left out: [-gone-], {+new+}."""
    shown = Text()
    pieces = [(kind, text) for kind, text in changes(before, after) if text]
    for number, (kind, text) in enumerate(pieces):
        if kind == "gone":
            shown.append(f"[-{visible(text)}-]", style="red")
        elif kind == "new":
            shown.append(f"{{+{visible(text)}+}}", style="green")
        else:
            first, last = number == 0, number == len(pieces) - 1
            shown.append(visible(_elided(text, head=not first, tail=not last)))
    return shown


def _elided(text: str, *, head: bool, tail: bool) -> str:
    words = re.findall(r"\S+\s*|\s+", text)
    kept = CONTEXT * (head + tail)
    if len(words) <= kept + 1:
        return text
    before = "".join(words[:CONTEXT]) if head else ""
    after = "".join(words[-CONTEXT:]) if tail else ""
    return f"{before}… {after}"
