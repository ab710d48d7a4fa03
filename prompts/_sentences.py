"""Where sentences end, where a text begins to loop, and whether it is English."""

import re

_END = re.compile(r"[.!?…][\"'”’»)\]*_`]*(?=\s|\Z)")
_NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|vs|etc|e\.g|i\.e|cf|Fig|No|[A-Z])|(?:\A|\n)\W*\d{1,3})\.\Z"
)
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "the of and to is that it for with as was are this be by from you not have they which can "
        "has his her their or but if when will more what how your we there one into than then "
        "these its she he at on an in a so do does each between because about would could should",
    )
)
_PERIODS = range(1, 13)


def sentence_ends(text: str) -> list[int]:
    """Offsets behind the sentences of a text, abbreviations and list numbers passed over."""
    return [
        end.end()
        for end in _END.finditer(text)
        if not _NO_END.search(text[max(0, end.start() - 12) : end.start() + 1])
    ]


def cut_unfinished(text: str) -> tuple[str, str]:
    """The text up to its last whole sentence, and the rest; a code block that is left open
    goes whole."""
    kept = text.rstrip()
    if kept.count("```") % 2:
        kept = kept[: kept.rindex("```")].rstrip()
    end = max([0, *sentence_ends(kept), kept.rfind("```") + 3 if "```" in kept else 0])
    return kept[:end], text[end:].strip()


def cut_loop(text: str) -> tuple[str, str]:
    """The text up to where it only says again what it said before, and the rest."""
    start = min(_repeated_sentences(text), _repeated_words(text))
    return text[:start].rstrip(), text[start:].strip()


def _repeated_sentences(text: str) -> int:
    """Where from on half of the sentences stood before, two at least; the end if nowhere."""
    starts, keys, seen = [], [], set()
    repeats: list[int] = []
    start = 0
    for end in sorted({*sentence_ends(text), *_line_ends(text), len(text)}):
        key = " ".join(re.findall(r"\w+", text[start:end].lower()))
        if key.count(" ") >= 3:
            starts.append(start)
            keys.append(key)
            repeats.append(int(key in seen))
            seen.add(key)
        start = end
    for number, again in enumerate(repeats):
        rest = sum(repeats[number:])
        if again and rest >= 2 and 2 * rest >= len(repeats) - number:
            return starts[number]
    return len(text)


def _line_ends(text: str) -> list[int]:
    return [found.start() for found in re.finditer(r"\n", text)]


def _repeated_words(text: str) -> int:
    """Behind the first of four equal runs of one to twelve words; the end if there are none."""
    words = [(found.group().lower(), found.end()) for found in re.finditer(r"\S+", text)]
    first = len(text)
    for period in _PERIODS:
        run = 0
        for at in range(period, len(words)):
            run = run + 1 if words[at][0] == words[at - period][0] else 0
            if run >= max(3 * period, 6):
                first = min(first, words[at - run][1])
                break
    return first


def is_english(text: str) -> bool:
    """Whether enough of the words are such that English alone needs; short texts have to be in
    Latin letters only."""
    letters = [letter for letter in text if letter.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters)
    if foreign > 0.3 * len(letters):
        return False
    words = re.findall(r"[a-z]+", text.lower())
    return len(words) < 25 or sum(w in _FUNCTION_WORDS for w in words) > 0.15 * len(words)
