"""Lines of speech: a speaker's name, a colon, what is said."""

import re

from prompts import Refusal

_LINE = re.compile(
    r"^[ \t]*[*_>\"-]{0,3}([A-Z][\w.' -]{0,30}?)[*_]{0,3}(?: *\([^)\n]*\))?[*_]{0,3}:[*_]{0,3}",
    re.MULTILINE,
)


def speeches(text: str) -> list[tuple[str, str]]:
    """Speaker and words of each line of speech; lines without a name go on with the one before."""
    found = list(_LINE.finditer(text))
    ends = [line.start() for line in found[1:]] + [len(text)] * bool(found)
    return [
        (line[1].strip(), text[line.end() : end].strip().strip('"').strip())
        for line, end in zip(found, ends, strict=True)
    ]


def cut_last_line(text: str) -> tuple[str, str]:
    """Without a last line that breaks off, and that line."""
    kept = text.rstrip()
    if not kept or kept[-1] in ".!?…\"”'’)*_":
        return kept, ""
    head, _, last = kept.rpartition("\n")
    return head.rstrip(), last


def wrong_speakers(text: str, min_turns: int, most: int) -> Refusal | None:
    """Whether fewer than two people speak, or more than `most`, or fewer than `min_turns` times."""
    speakers = [speaker for speaker, _ in speeches(text)]
    if len(speakers) < min_turns:
        return Refusal("too_few_turns", f"{len(speakers)} spoken lines, {min_turns} wanted")
    if len(set(speakers)) < 2:
        return Refusal("one_speaker", speakers[0])
    if len(set(speakers)) > most:
        return Refusal("too_many_speakers", ", ".join(dict.fromkeys(speakers))[:200])
    return None
