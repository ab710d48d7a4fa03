"""The figures that the quality rules of Gopher, FineWeb and their kin ask of a text.

One pass over a text splits it into tokens and lines; all rules read what it leaves.
"""

import numpy as np

from filters.characters import to_codes
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints
from filters.line_figures import Figures, line_figures, run_figures, seen
from filters.spacing import (
    ALPHA,
    BLANK,
    SYMBOL,
    Traits,
    hash_codes,
    tokenize,
)
from filters.words import BASE, finish

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
def _top_gram(
    sums: Hashes,
    grams: int,
    n: int,
    before: Ints,
    keys: Hashes,
    stamps: Ints,
    counts: Ints,
    firsts: Ints,
    stamp: int,
) -> tuple[float, int]:
    """Characters in the most frequent n-gram with its spaces, of equals the first; its count."""
    most, place = 0, 0
    for k in range(grams):
        slot = seen(keys, stamps, stamp, finish(sums[k]))
        if slot >= 0:
            counts[slot], firsts[slot] = 1, k
        else:
            slot = -1 - slot
            counts[slot] += 1
        if counts[slot] > most:
            most, place = counts[slot], firsts[slot]
        elif counts[slot] == most:
            place = min(place, firsts[slot])
    return float(most * (before[place + n] - before[place] + n - 1)), most


@kernel
def _repeated_grams(
    sums: Hashes, grams: int, n: int, before: Ints, keys: Hashes, stamps: Ints, stamp: int
) -> float:
    """Characters in n-grams that came before; none is counted twice."""
    total, k = 0, 0
    while k < grams:
        if seen(keys, stamps, stamp, finish(sums[k])) < 0:
            total += before[k + n] - before[k]
            k += n
        else:
            k += 1
    return float(total)


@kernel
def _gram_figures(
    hashes: Hashes,
    tokens: int,
    sums: Hashes,
    before: Ints,
    keys: Hashes,
    stamps: Ints,
    counts: Ints,
    firsts: Ints,
    stamp: int,
    out: Figures,
) -> None:
    """Into out: characters in the most frequent 2- to 4-gram, in repeated 5- to 10-grams."""
    for k in range(tokens):
        sums[k] = hashes[k]
    repeats = True  # no longer n-gram comes again where no shorter one does
    for n in range(2, 11):
        grams = tokens - n + 1
        if grams < 1 or (n > 4 and not repeats):
            return
        if not repeats:
            out[n - 2] = before[n] + n - 1
            continue
        for k in range(grams):
            sums[k] = sums[k] * BASE + hashes[k + n - 1]
        if n < 5:
            out[n - 2], most = _top_gram(
                sums, grams, n, before, keys, stamps, counts, firsts, stamp + n
            )
            repeats = most > 1
        else:
            out[n - 2] = _repeated_grams(sums, grams, n, before, keys, stamps, stamp + n)
            repeats = out[n - 2] > 0


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
    codes, ends = np.empty(longest + 1, np.uint32), np.empty(2 * longest + 2, np.int64)
    hashes, sums = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    before = np.zeros(longest + 2, np.int64)
    size, stamp = 64, 0
    keys, stamps = np.empty(64, np.uint64), np.zeros(64, np.int64)
    counts, firsts = np.empty(64, np.int64), np.empty(64, np.int64)
    # a bit for each stop word, so that most tokens are compared with none
    hints = np.uint64(0)
    for place in range(len(stop_words)):
        hints |= np.uint64(1) << (stop_words[place] & np.uint64(63))
    for row in range(count):
        length = to_codes(data[offsets[row] : offsets[row + 1]], codes)
        tokens = tokenize(codes, length, traits, abbreviated, units, ends, hashes)
        breaks = np.int64(0)
        for k in range(length):
            breaks += codes[k] == 10
        need = _room(max(tokens, breaks + 1))
        if need > size:
            size, stamp = need, 0
            keys, stamps = np.empty(size, np.uint64), np.zeros(size, np.int64)
            counts, firsts = np.empty(size, np.int64), np.empty(size, np.int64)
        figures = out[row]
        figures[0], figures[1], figures[15] = length, tokens, breaks
        found = np.uint64(0)
        for k in range(tokens):
            first, last = ends[2 * k], ends[2 * k + 1]
            word, alpha = True, True
            if not hashes[k]:
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
            if hints >> (hashes[k] & np.uint64(63)) & np.uint64(1):
                for place in range(len(stop_words)):
                    if stop_words[place] == hashes[k]:
                        found |= np.uint64(1) << np.uint64(place)
        while found:
            figures[5] += 1
            found &= found - np.uint64(1)
        stamp += 1
        line_figures(codes, length, traits, short, breaks, figures, keys, stamps, stamp)
        if not repetition:
            continue
        first, last = np.int64(0), length
        while first < last and traits[codes[first]] & BLANK:
            first += 1
        while last > first and traits[codes[last - 1]] & BLANK:
            last -= 1
        for turn in range(2):  # paragraphs, then pieces: one call, compiled once
            run_figures(
                codes,
                first,
                last,
                2 - turn,
                figures[16 + 3 * turn :],
                keys,
                stamps,
                stamp + 1 + turn,
            )
            first, last = np.int64(0), length
        _gram_figures(
            hashes,
            tokens,
            sums,
            before,
            keys,
            stamps,
            counts,
            firsts,
            stamp + 2,
            figures[22:],
        )
        stamp += 12
    return out
