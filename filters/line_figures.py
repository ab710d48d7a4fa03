"""What quality rules ask of a text's lines and paragraphs."""

import numpy as np
import numpy.typing as npt

from filters.characters import Codes
from filters.compiled import kernel
from filters.kernels import Hashes, Ints
from filters.spacing import BLANK, BREAK, TERMINAL, Traits
from filters.words import BASE, finish

Figures = npt.NDArray[np.float64]

_FIRST, _SECOND, _THIRD = (
    np.uint64(factor) for factor in (0xD6E8FEB86659FD93, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)


@kernel
def hash_span(codes: Codes, start: int, end: int) -> np.uint64:
    """Of four characters at once: a multiplication a character waits for the one before."""
    a, b, c, d = np.uint64(end - start), np.uint64(1), np.uint64(2), np.uint64(3)
    for k in range((end - start) // 4):
        at = start + 4 * k
        a = a * BASE + np.uint64(codes[at])
        b = b * BASE + np.uint64(codes[at + 1])
        c = c * BASE + np.uint64(codes[at + 2])
        d = d * BASE + np.uint64(codes[at + 3])
    for at in range(end - (end - start) % 4, end):
        a = a * BASE + np.uint64(codes[at])
    return finish(finish(a) + finish(b * _FIRST) + finish(c * _SECOND) + finish(d * _THIRD))


@kernel
def seen(keys: Hashes, stamps: Ints, stamp: int, key: np.uint64) -> int:
    """The slot of a key, which is put in where it was not; -1 - slot where it was there."""
    mask = len(keys) - 1
    slot = np.int64(key & np.uint64(mask))
    while stamps[slot] == stamp:
        if keys[slot] == key:
            return -1 - slot
        slot = (slot + 1) & mask
    stamps[slot], keys[slot] = stamp, key
    return slot


@kernel
def _ellipses(codes: Codes, length: int) -> int:
    """Python's count of "..." (none overlap) and of the one character."""
    found, at = 0, 0
    while at < length:
        if codes[at] == 0x2026:
            found += 1
        elif at + 2 < length and codes[at] == 46 and codes[at + 1] == 46 and codes[at + 2] == 46:
            found += 1
            at += 2
        at += 1
    return found


@kernel
def _ends(codes: Codes, start: int, end: int, traits: Traits, out: Figures) -> None:
    """Count a line, and whether it begins as a bullet and ends in an ellipsis."""
    first, last = start, end
    while first < end and traits[codes[first]] & BLANK:
        first += 1
    while last > first and traits[codes[last - 1]] & BLANK:
        last -= 1
    out[8] += 1
    out[9] += first < last and (codes[first] == 45 or codes[first] == 0x2022)
    dots = last - first > 2 and codes[last - 1] == 46 and codes[last - 2] == 46
    out[10] += (dots and codes[last - 3] == 46) or (first < last and codes[last - 1] == 0x2026)


@kernel
def line_figures(
    codes: Codes,
    length: int,
    traits: Traits,
    short: int,
    breaks: int,
    out: Figures,
    keys: Hashes,
    stamps: Ints,
    stamp: int,
) -> None:
    """Fill what WORDS tells of characters and lines."""
    marks, dots, other = 0, 0, 0
    for k in range(length):
        code = codes[k]
        marks += code == 35
        dots += (code == 46) | (code == 0x2026)
        other += ((code > 10) & (code < 32)) | (code == 0x85) | ((code | 1) == 0x2029)
    out[6] = marks
    if dots:
        out[7] = _ellipses(codes, length)
    start = np.int64(0)
    while other and start < length:  # lines as str.splitlines gives them
        end = start
        while end < length and not traits[codes[end]] & BREAK:
            end += 1
        _ends(codes, start, end, traits, out)
        start = end + 1
        if end + 1 < length and codes[end] == 13 and codes[end + 1] == 10:
            start += 1
    start = np.int64(0)
    while start <= length:  # lines between "\n"; some figures are of those that are not blank
        end = start
        while breaks and end < length and codes[end] != 10:
            end += 1
        if not breaks:
            end = length
        if not other and start < length:
            _ends(codes, start, end, traits, out)
        first = start
        while first < end and traits[codes[first]] & BLANK:
            first += 1
        if first < end:
            out[11] += 1
            out[12] += (traits[codes[end - 1]] & TERMINAL) != 0
            out[13] += end - start <= short
            if breaks and seen(keys, stamps, stamp, hash_span(codes, start, end)) < 0:
                out[14] += end - start
        start = end + 1


@kernel
def run_figures(
    codes: Codes,
    start: int,
    length: int,
    breaks: int,
    out: Figures,
    keys: Hashes,
    stamps: Ints,
    stamp: int,
) -> None:
    """Count what lies between runs of at least `breaks` line breaks, and what of it came
    before: into out[0], out[1] and, in characters, out[2]."""
    at = start
    while True:
        end = at
        behind = length
        while end < length:
            if codes[end] == 10:
                behind = end
                while behind < length and codes[behind] == 10:
                    behind += 1
                if behind - end >= breaks:
                    break
                end = behind
                behind = length
            else:
                end += 1
        out[0] += 1
        alone = at == start and end >= length
        if not alone and seen(keys, stamps, stamp, hash_span(codes, at, end)) < 0:
            out[1] += 1
            out[2] += end - at
        if end >= length:
            return
        at = behind
