"""Word n-grams of texts: MinHash bands to find texts alike, sets to measure how alike.

A text with fewer words than `size` has one shingle, all its words. After Broder, "On the
resemblance and containment of documents" (1997).
"""

import numpy as np
import numpy.typing as npt

from filters.characters import Folds
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints
from filters.words import (
    BASE,
    CHUNK,
    Room,
    Small,
    chunk_end,
    finish,
    hash_ngrams,
    split_chunk,
    work_room,
)

Flags = npt.NDArray[np.bool_]

_UNSET = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def _shingle(
    text: Bytes, size: int, table: Folds, room: Room, words: Hashes, grams: Hashes, out: Small
) -> tuple[int, int]:
    """How many shingles of one text were written to `out`, in its order, and its words."""
    # a bare 0 is a type of its own, for which what is called would be compiled once more
    at, carried, total, held = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while at < len(text):
        cut = chunk_end(text, at)
        count = split_chunk(text[at:cut], table, room, words, carried)
        total += count - carried
        at = cut
        if count >= size:
            made = hash_ngrams(words, count, size, grams)
            piece = out[held : held + made]
            for k in range(made):
                piece[k] = np.uint32(grams[k] >> np.uint64(32))
            held += made
            for k in range(size - 1):
                words[k] = words[count - size + 1 + k]
            carried = size - 1
        else:
            carried = count
    if 0 < total < size:
        held = hash_ngrams(words, total, total, grams)
        out[0] = np.uint32(grams[0] >> np.uint64(32))
    return held, total


@kernel
def _shingle_text(
    text: Bytes,
    is_code: bool,
    size: int,
    prose: Folds,
    code: Folds,
    room: Room,
    words: Hashes,
    grams: Hashes,
    out: Small,
) -> tuple[int, int]:
    """A text of nothing but marks is read as code."""
    held, total, table = np.int64(0), np.int64(0), code if is_code else prose
    for _ in range(2):  # one call, which is compiled into this one once
        held, total = _shingle(text, size, table, room, words, grams, out)
        if total or is_code:
            break
        table = code
    return held, total


@kernel
def shingle_texts(
    data: Bytes, offsets: Ints, is_code: Flags, size: int, prose: Folds, code: Folds
) -> tuple[Small, Ints]:
    """The shingles of all texts in a row, and their borders."""
    room, most = work_room(), CHUNK + size
    words, grams = np.empty(most, np.uint64), np.empty(most, np.uint64)
    # A text of n bytes has at most n words; pages that are not touched cost nothing.
    found = np.empty(len(data) + 1, np.uint32)
    borders = np.zeros(len(offsets), np.int64)
    for row in range(len(offsets) - 1):
        text, out = data[offsets[row] : offsets[row + 1]], found[borders[row] :]
        held, _ = _shingle_text(text, is_code[row], size, prose, code, room, words, grams, out)
        borders[row + 1] = borders[row] + held
    return found[: borders[-1]].copy(), borders


@kernel
def _sketch(shingles: Small, factors: Hashes, minima: Hashes) -> None:
    """One MinHash value a bin, after "Fast similarity sketching" (Dahlgaard, Knudsen, Thorup
    2017): each round throws all shingles into the bins until none is empty, which takes a few
    rounds in place of one for each value, and keeps the estimate unbiased.
    """
    bins = np.uint64(len(minima))
    minima[:] = _UNSET
    for turn in range(2 * len(minima)):
        factor, mark = factors[turn], np.uint64(turn) << np.uint64(32)
        for k in range(len(shingles)):
            drawn = np.uint64(shingles[k]) * factor
            place = ((drawn >> np.uint64(32)) * bins) >> np.uint64(32)
            if turn >= len(minima):
                place = np.uint64(turn - len(minima))
            if minima[place] >= mark:  # not filled in an earlier round
                value = mark | (drawn >> np.uint64(16)) & np.uint64(0xFFFFFFFF)
                minima[place] = min(minima[place], value)
        empty = 0
        for k in range(len(minima)):
            empty += minima[k] == _UNSET
        if not empty:
            return


@kernel
def band_keys(
    data: Bytes,
    offsets: Ints,
    is_code: Flags,
    size: int,
    prose: Folds,
    code: Folds,
    bands: int,
    rows: int,
    factors: Hashes,
) -> tuple[Hashes, Ints]:
    """Keys of shape (bands, texts), equal in a band with probability J^rows, and the words of
    each text. `factors`: 2 * bands * rows odd numbers.
    """
    count, longest = len(offsets) - 1, 0
    for row in range(count):
        longest = max(longest, offsets[row + 1] - offsets[row])
    room, most = work_room(), CHUNK + size
    words, grams = np.empty(most, np.uint64), np.empty(most, np.uint64)
    shingles = np.empty(longest + 1, np.uint32)
    keys, counted = np.empty((bands, count), np.uint64), np.empty(count, np.int64)
    minima = np.empty(bands * rows, np.uint64)
    for row in range(count):
        text = data[offsets[row] : offsets[row + 1]]
        held, counted[row] = _shingle_text(
            text, is_code[row], size, prose, code, room, words, grams, shingles
        )
        _sketch(shingles[:held], factors, minima)
        for band in range(bands):
            key = np.uint64(band)
            for k in range(rows):
                key = (key ^ minima[band * rows + k]) * BASE
                key ^= key >> np.uint64(29)
            keys[band, row] = finish(key)
    return keys, counted


def distinct(shingles: Small, borders: Ints) -> tuple[Small, Ints]:
    """The distinct shingles of each text, sorted, and their borders."""
    rows = np.repeat(np.arange(len(borders) - 1, dtype=np.uint64), np.diff(borders))
    keys = np.sort(rows << np.uint64(32) | shingles)
    first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    found = keys[first]
    ends = np.searchsorted(found, np.arange(len(borders), dtype=np.uint64) << np.uint64(32))
    return found.astype(np.uint32), ends


@kernel
def jaccard(
    sets: Small, starts: Ints, ends: Hashes, left: Ints, right: Ints
) -> npt.NDArray[np.float64]:
    """Shared by all shingles of each pair of sets, each sorted and distinct."""
    shares = np.empty(len(left), np.float64)
    for pair in range(len(left)):
        a, a_end = starts[left[pair]], ends[left[pair]]
        b, b_end = starts[right[pair]], ends[right[pair]]
        total, both = a_end - a + b_end - b, 0
        while a < a_end and b < b_end:
            x, y = sets[a], sets[b]
            both += x == y
            a += x <= y
            b += y <= x
        shares[pair] = both / (total - both) if total else 0.0
    return shares
