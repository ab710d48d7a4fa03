"""The figures that the quality rules of Gopher, FineWeb and their kin ask of a text.

One pass over a text splits it into tokens and lines; all rules read what it leaves.
"""

import numpy as np
import numpy.typing as npt

from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints
from filters.spacing import (
    ALPHA,
    BLANK,
    BREAK,
    SYMBOL,
    TERMINAL,
    Codes,
    Traits,
    hash_codes,
    to_codes,
    tokenize,
)
from filters.words import BASE, finish

Figures = npt.NDArray[np.float64]

WORDS = (
    "characters",
    "tokens",
    "words",
    "word_characters",
    "alpha_tokens",
    "stop_words",
    "hashes",
    "ellipses",
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "full_lines",
    "ended_lines",
    "short_lines",
    "repeated_line_characters",
    "line_breaks",
)
"""`words`: tokens that are not all marks; `stop_words`: different ones; `full_lines`: those that
are not blank, on which the figures from `ended_lines` on are."""
REPETITION = (
    "paragraphs",
    "repeated_paragraphs",
    "repeated_paragraph_characters",
    "pieces",
    "repeated_pieces",
    "repeated_piece_characters",
    *(f"top_{n}" for n in (2, 3, 4)),
    *(f"repeated_{n}" for n in range(5, 11)),
)
"""Counts of paragraphs, lines ("pieces", between runs of line breaks) and those seen before, and
characters in the most frequent and in all repeated n-grams."""


@kernel
def _seen(keys: Hashes, stamps: Ints, stamp: int, key: np.uint64) -> int:
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
def _line_figures(
    codes: Codes,
    length: int,
    traits: Traits,
    short: int,
    out: Figures,
    keys: Hashes,
    stamps: Ints,
    stamp: int,
) -> None:
    """Fill what WORDS tells of characters and lines."""
    marks, breaks = 0, 0
    for at in range(length):
        marks += codes[at] == 35
        breaks += codes[at] == 10
    out[6], out[15] = marks, breaks
    at = 0
    while at < length:  # Python's count of "...": none overlap
        if codes[at] == 0x2026:
            out[7] += 1
        elif at + 2 < length and codes[at] == 46 and codes[at + 1] == 46 and codes[at + 2] == 46:
            out[7] += 1
            at += 2
        at += 1
    start = 0
    while start < length:  # lines as str.splitlines gives them
        end = start
        while end < length and not traits[codes[end]] & BREAK:
            end += 1
        out[8] += 1
        first, last = start, end
        while first < end and traits[codes[first]] & BLANK:
            first += 1
        while last > first and traits[codes[last - 1]] & BLANK:
            last -= 1
        out[9] += first < last and (codes[first] == 45 or codes[first] == 0x2022)
        dots = last - first > 2 and codes[last - 1] == 46 and codes[last - 2] == 46
        out[10] += (dots and codes[last - 3] == 46) or (first < last and codes[last - 1] == 0x2026)
        start = end + 1
        if end + 1 < length and codes[end] == 13 and codes[end + 1] == 10:
            start += 1
    start = 0
    while start <= length:  # lines between "\n" that are not blank
        end, blank = start, True
        while end < length and codes[end] != 10:
            blank &= (traits[codes[end]] & BLANK) != 0
            end += 1
        if not blank:
            out[11] += 1
            out[12] += (traits[codes[end - 1]] & TERMINAL) != 0
            out[13] += end - start <= short
            if _seen(keys, stamps, stamp, hash_codes(codes, start, end)) < 0:
                out[14] += end - start
        start = end + 1


@kernel
def _runs(
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
        if _seen(keys, stamps, stamp, hash_codes(codes, at, end)) < 0:
            out[1] += 1
            out[2] += end - at
        if end >= length:
            return
        at = behind


@kernel
def _top_gram(
    sums: Hashes,
    grams: int,
    n: int,
    before: Ints,
    keys: Hashes,
    stamps: Ints,
    counts: Ints,
    stamp: int,
) -> float:
    """Characters in the most frequent n-gram with its spaces; of equals the first."""
    most, place = 0, 0
    for k in range(grams):
        slot = _seen(keys, stamps, stamp, finish(sums[k]))
        if slot >= 0:
            counts[slot] = 1
        else:
            slot = -1 - slot
            counts[slot] += 1
        most = max(most, counts[slot])
    for k in range(grams):
        slot = -1 - _seen(keys, stamps, stamp, finish(sums[k]))
        if counts[slot] == most:
            place = k
            break
    return float(most * (before[place + n] - before[place] + n - 1))


@kernel
def _repeated_grams(
    sums: Hashes, grams: int, n: int, before: Ints, keys: Hashes, stamps: Ints, stamp: int
) -> float:
    """Characters in n-grams that came before; none is counted twice."""
    total, k = 0, 0
    while k < grams:
        if _seen(keys, stamps, stamp, finish(sums[k])) < 0:
            total += before[k + n] - before[k]
            k += n
        else:
            k += 1
    return float(total)


@kernel
def _room(length: int) -> int:
    size = 64
    while size < 2 * length:
        size *= 2
    return size


@kernel
def text_figures(
    data: Bytes,
    offsets: Ints,
    traits: Traits,
    abbreviated: Hashes,
    units: Hashes,
    stop_words: Hashes,
    short: int,
    repetition: bool,
) -> Figures:
    """WORDS and, if asked for, REPETITION of each text; shape (texts, figures)."""
    count = len(offsets) - 1
    out = np.zeros((count, 31 if repetition else 16), np.float64)
    longest = 16
    for row in range(count):
        longest = max(longest, offsets[row + 1] - offsets[row])
    codes, ends = np.empty(longest + 1, np.int32), np.empty(2 * longest + 2, np.int64)
    hashes, sums = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    before = np.zeros(longest + 2, np.int64)
    size, stamp = 64, 0
    keys, stamps, counts = np.empty(64, np.uint64), np.zeros(64, np.int64), np.empty(64, np.int64)
    for row in range(count):
        length = to_codes(data[offsets[row] : offsets[row + 1]], codes)
        tokens = tokenize(codes, length, traits, abbreviated, units, ends)
        need = _room(max(tokens, 8 + length // 8))
        if need > size:
            size, stamp = need, 0
            keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int64)
            counts = np.empty(size, np.int64)
        figures = out[row]
        figures[0], figures[1] = length, tokens
        found = np.uint64(0)
        for k in range(tokens):
            first, last = ends[2 * k], ends[2 * k + 1]
            word, alpha = False, False
            for at in range(first, last):
                bits = traits[codes[at]]
                word |= not bits & SYMBOL
                alpha |= (bits & ALPHA) != 0
            hashes[k] = hash_codes(codes, first, last)
            before[k + 1] = before[k] + last - first
            figures[4] += alpha
            if word:
                figures[2] += 1
                figures[3] += last - first
            if last - first < 6:
                for place in range(len(stop_words)):
                    if stop_words[place] == hashes[k]:
                        found |= np.uint64(1) << np.uint64(place)
        while found:
            figures[5] += 1
            found &= found - np.uint64(1)
        stamp += 1
        _line_figures(codes, length, traits, short, figures, keys, stamps, stamp)
        if not repetition:
            continue
        first, last = 0, length
        while first < last and traits[codes[first]] & BLANK:
            first += 1
        while last > first and traits[codes[last - 1]] & BLANK:
            last -= 1
        _runs(codes, first, last, 2, figures[16:19], keys, stamps, stamp + 1)
        _runs(codes, 0, length, 1, figures[19:22], keys, stamps, stamp + 2)
        stamp += 2
        for k in range(tokens):
            sums[k] = hashes[k]
        for n in range(2, 11):
            grams = tokens - n + 1
            for k in range(grams):
                sums[k] = sums[k] * BASE + hashes[k + n - 1]
            if grams > 0:
                stamp += 1
                if n < 5:
                    top = _top_gram(sums, grams, n, before, keys, stamps, counts, stamp)
                    figures[20 + n] = top
                else:
                    figures[20 + n] = _repeated_grams(sums, grams, n, before, keys, stamps, stamp)
    return out
