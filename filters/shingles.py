"""Word n-grams of texts: MinHash bands to find texts alike, sets to measure how alike.

A text with fewer words than `size` has one shingle, all its words. After Broder, "On the
resemblance and containment of documents" (1997).
"""

import numpy as np
import numpy.typing as npt

from filters.characters import Folds
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints
from filters.words import BASE, CHUNK, Codes, chunk_end, finish, split_chunk

Small = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]

_UNSET = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel
def _hash_ngrams(words: Hashes, count: int, size: int, sums: Hashes, out: Small) -> None:
    """All n-grams of `count` words, one word of each at a time: loops of vector code."""
    grams = count - size + 1
    for k in range(grams):
        sums[k] = words[k]
    for n in range(1, size):
        for k in range(grams):
            sums[k] = sums[k] * BASE + words[k + n]
    for k in range(grams):
        out[k] = np.uint32(finish(sums[k]) >> np.uint64(32))


@kernel
def _shingle(
    data: Bytes,
    size: int,
    table: Folds,
    codes: Codes,
    words: Hashes,
    ends: Ints,
    sums: Hashes,
    out: Small,
) -> tuple[int, int]:
    """How many shingles of one text were written to `out`, in its order, and its words."""
    at, carried, total, held = 0, 0, 0, 0
    while at < len(data):
        cut = chunk_end(data, at)
        count = split_chunk(data[at:cut], table, codes, words, ends, carried)
        total += count - carried
        at = cut
        if count >= size:
            _hash_ngrams(words, count, size, sums, out[held:])
            held += count - size + 1
            for k in range(size - 1):
                words[k] = words[count - size + 1 + k]
            carried = size - 1
        else:
            carried = count
    if 0 < total < size:
        _hash_ngrams(words, total, total, sums, out)
        held = 1
    return held, total


@kernel
def shingle_texts(
    data: Bytes, offsets: Ints, is_code: Flags, size: int, prose: Folds, code: Folds
) -> tuple[Small, Ints, Ints]:
    """The shingles of all texts in a row, their borders, and the words of each text."""
    codes, ends = np.empty(3 * CHUNK + 1, np.int32), np.empty(3 * CHUNK + size, np.int64)
    words, sums = np.empty(3 * CHUNK + size, np.uint64), np.empty(3 * CHUNK + size, np.uint64)
    # A text of n bytes has at most n words; pages that are not touched cost nothing.
    found = np.empty(len(data) + 1, np.uint32)
    borders, counted = np.zeros(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.int64)
    for row in range(len(offsets) - 1):
        text, out = data[offsets[row] : offsets[row + 1]], found[borders[row] :]
        held = 0
        for marks in range(2):
            if counted[row] == 0 and (marks or not is_code[row]):
                # a text of nothing but marks is read as code
                table = code if marks else prose
                held, counted[row] = _shingle(text, size, table, codes, words, ends, sums, out)
        borders[row + 1] = borders[row] + held
    return found[: borders[-1]].copy(), borders, counted


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
            place = np.int64(((drawn >> np.uint64(32)) * bins) >> np.uint64(32))
            if turn >= len(minima):
                place = turn - len(minima)
            value = mark | (drawn >> np.uint64(16)) & np.uint64(0xFFFFFFFF)
            minima[place] = min(minima[place], value)
        empty = 0
        for k in range(len(minima)):
            empty += minima[k] == _UNSET
        if not empty:
            return


@kernel
def band_keys(
    shingles: Small, borders: Ints, salts: Hashes, bands: int, rows: int, factors: Hashes
) -> Hashes:
    """Keys of shape (texts, bands), equal in a band with probability J^rows.

    Texts of other salts never share a key. `factors`: 2 * bands * rows odd numbers.
    """
    count = len(borders) - 1
    keys = np.empty((count, bands), np.uint64)
    minima = np.empty(bands * rows, np.uint64)
    for row in range(count):
        _sketch(shingles[borders[row] : borders[row + 1]], factors, minima)
        for band in range(bands):
            key = salts[row] + np.uint64(band)
            for k in range(rows):
                key = (key ^ minima[band * rows + k]) * BASE
                key ^= key >> np.uint64(29)
            keys[row, band] = finish(key)
    return keys


@kernel
def distinct(shingles: Small, borders: Ints) -> tuple[Small, Ints]:
    """The distinct shingles of each text, sorted, and their borders."""
    found, ends = np.empty(len(shingles), np.uint32), np.zeros(len(borders), np.int64)
    filled = 0
    for row in range(len(borders) - 1):
        ordered = np.sort(shingles[borders[row] : borders[row + 1]])
        for k in range(len(ordered)):
            if k == 0 or ordered[k] != ordered[k - 1]:
                found[filled] = ordered[k]
                filled += 1
        ends[row + 1] = filled
    return found[:filled].copy(), ends


@kernel
def jaccard(
    sets: Small, starts: Ints, ends: Ints, left: Ints, right: Ints
) -> npt.NDArray[np.float64]:
    """Shared by all shingles of each pair of sets, each sorted and distinct."""
    shares = np.zeros(len(left), np.float64)
    for pair in range(len(left)):
        a, a_end = starts[left[pair]], ends[left[pair]]
        b, b_end = starts[right[pair]], ends[right[pair]]
        total, both = a_end - a + b_end - b, 0
        while a < a_end and b < b_end:
            x, y = sets[a], sets[b]
            both += x == y
            a += x <= y
            b += y <= x
        if total:
            shares[pair] = both / (total - both)
    return shares
