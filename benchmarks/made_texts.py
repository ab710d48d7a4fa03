"""Texts for benchmarks and tests: recombined words, near-duplicates, texts near thresholds."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
Draw = np.random.Generator
Words = npt.NDArray[np.object_]


def words_of(path: Path | None) -> Words:
    """All words of a text or .jsonl file or folder; of the shipped seeds where None."""
    place = path or ROOT / "data" / "seeds"
    files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.is_file())
    words: list[str] = []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            words += _strings(json.loads(line) if file.suffix == ".jsonl" and line else line)
    return np.array(words, object)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [word for item in inner for word in _strings(item)]


def corpus(
    words: Words, count: int, seed: int = 0, longest: int = 700
) -> Iterator[tuple[str, int]]:
    """`count` texts of 2/7 of `longest` words and more, each with the number of the text that it
    was made from: 10 % copies with 2 to 15 % of the words replaced, 2 % exact, -1 for the
    others."""
    draw = np.random.default_rng(seed)
    kept: list[list[str]] = []
    for number in range(count):
        kind = draw.random() if kept else 1.0
        origin = int(draw.integers(len(kept))) if kind < 0.12 else -1
        if kind < 0.10:
            text = list(kept[origin])
            edits = max(1, int(len(text) * draw.uniform(0.02, 0.15)))
            for place in draw.integers(0, len(text), edits).tolist():
                text[place] = words[draw.integers(len(words))]
        elif kind < 0.12:
            text = kept[origin]
        else:
            text = words[
                draw.integers(0, len(words), draw.integers(longest * 2 // 7, longest))
            ].tolist()
        if number < 200_000:
            kept.append(text)
        yield " ".join(text), origin


def near_thresholds(words: Words, count: int, seed: int = 0) -> list[str]:
    """Texts of which most lie close to a threshold of Gopher's and FineWeb's rules."""
    draw = np.random.default_rng(seed)
    makers = (_plain, _short, _lined, _bullets, _marks, _repeats, _lists, _letters)
    return [makers[n % len(makers)](words, draw) for n in range(count)]


def _pick(words: Words, draw: Draw, low: int, high: int) -> list[str]:
    found: list[str] = words[draw.integers(0, len(words), draw.integers(low, high))].tolist()
    return found


def _sentences(words: Words, draw: Draw, low: int, high: int) -> list[str]:
    text, found = _pick(words, draw, low, high), []
    while text:
        size = int(draw.integers(4, 18))
        found.append(" ".join(text[:size]).rstrip(".,;:") + draw.choice([".", ".", "?", "!", ""]))
        text = text[size:]
    return found


def _plain(words: Words, draw: Draw) -> str:
    return " ".join(_sentences(words, draw, 60, 400))


def _short(words: Words, draw: Draw) -> str:
    return " ".join(_sentences(words, draw, 44, 56))


def _lined(words: Words, draw: Draw) -> str:
    share = draw.uniform(0.05, 0.2)
    lines = [" ".join(_pick(words, draw, 3, 14)).rstrip(".?!") for _ in range(40)]
    return "\n".join(line + "." * (draw.random() < share) for line in lines)


def _bullets(words: Words, draw: Draw) -> str:
    share = draw.uniform(0.8, 1.0)
    lines = [" ".join(_pick(words, draw, 6, 20)) for _ in range(30)]
    return "\n".join("- " * (draw.random() < share) + line for line in lines)


def _marks(words: Words, draw: Draw) -> str:
    mark, share = draw.choice(["#", "...", "…", "- ..."]), draw.uniform(0.05, 0.16)
    text = _pick(words, draw, 80, 200)
    return " ".join(f"{word} {mark}" if draw.random() < share else word for word in text)


def _repeats(words: Words, draw: Draw) -> str:
    phrase = " ".join(_pick(words, draw, 2, 14))
    share = draw.uniform(0.02, 0.2) / max(1, len(phrase.split()) / 3)
    text = _pick(words, draw, 120, 260)
    join = draw.choice([" ", "\n", "\n\n"])
    return " ".join(
        f"{word}{join}{phrase}{join}" if draw.random() < share else word for word in text
    )


def _lists(words: Words, draw: Draw) -> str:
    low = int(draw.integers(2, 4))
    lines = [" ".join(_pick(words, draw, low, low + 4)) + "." for _ in range(60)]
    lines += list(draw.choice(lines, int(draw.integers(0, 3))))
    return "\n".join(lines)


def _letters(words: Words, draw: Draw) -> str:
    share = draw.uniform(0.1, 0.3)
    text = _pick(words, draw, 80, 200)
    return " ".join(str(draw.integers(10**4)) if draw.random() < share else w for w in text)


def pages(words: Words, count: int, seed: int = 0) -> list[str]:
    """Pages with the lines that C4 removes or rejects a page for, most with about as many
    sentences as it asks for."""
    draw = np.random.default_rng(seed)
    extras = (
        "lorem ipsum",
        "{x}",
        "JavaScript",
        "our privacy policy",
        "[12]",
        "w" * 1001,
        "Dr. Who",
    )
    marks = (".", ".", "?", "!", "...", '"', "", ";", ".'", ". [3]")
    breaks = ("\n", "\n", "\n\n", "\r\n", "\u2028", " \n ")
    found = []
    for _ in range(count):
        page = ""
        for _ in range(int(draw.integers(2, 7))):
            line = [word.strip(".?!") or "x" for word in _pick(words, draw, 1, 9) if word.isascii()]
            if draw.random() < 0.3:
                line.insert(int(draw.integers(len(line) + 1)), str(draw.choice(extras)))
            if len(line) > 3 and draw.random() < 0.5:
                line[1] += str(draw.choice((".", "?", "!", "...", "?!")))
            page += " ".join(line) + str(draw.choice(marks)) + str(draw.choice(breaks))
        found.append(page)
    return found
