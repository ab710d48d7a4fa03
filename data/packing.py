"""Documents into rows of T tokens: best-fit decreasing over the whole output.

Documents longer than T are cut into pieces of T and a rest. Pieces are placed longest first
into the row with the least room that still holds them, ties by document id, so the rows do
not depend on the order of arrival. Rows are then shuffled: best-fit leaves them sorted.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

ALGORITHM = "best-fit-decreasing/1"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """Fragments sorted by row, then by their place in the row.

    `document` indexes the packed documents, `offset` is the fragment's first token in its
    document, `row_starts` has one more entry than there are rows.
    """

    document: Ints
    offset: Ints
    length: Ints
    row_starts: Ints

    @property
    def rows(self) -> int:
        return len(self.row_starts) - 1


def pack(lengths: Ints, ids: npt.NDArray[np.uint64], sequence_length: int, seed: int) -> Packing:
    """`lengths` in tokens and `ids` of the documents; empty documents take no place."""
    document, offset, length = _fragments(lengths, sequence_length)
    order = np.lexsort((offset, ids[document], -length))
    document, offset, length = document[order], offset[order], length[order]
    rows, count = _best_fit(length, sequence_length)
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(count)
    place = np.empty(count, np.int64)
    place[shuffled] = np.arange(count)
    rows = place[rows]
    by_row = np.argsort(rows, kind="stable")
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=starts[1:])
    return Packing(document[by_row], offset[by_row], length[by_row], starts)


def _fragments(lengths: Ints, size: int) -> tuple[Ints, Ints, Ints]:
    pieces = -(-lengths // size)
    document = np.repeat(np.arange(len(lengths)), pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    offset = (np.arange(len(document)) - first) * size
    return document, offset, np.minimum(lengths[document] - offset, size)


@numba.njit(cache=True, nogil=True)
def _best_fit(lengths: Ints, size: int) -> tuple[Ints, int]:
    """Row of each length (descending); rows with equal room wait in a stack per room."""
    top = np.full(size + 1, -1, np.int64)
    below = np.empty(len(lengths), np.int64)
    used = np.zeros(size // 64 + 1, np.uint64)
    rows = np.empty(len(lengths), np.int64)
    count = 0
    for i in range(len(lengths)):
        length = lengths[i]
        room = _least_room(used, length)
        if room < 0:
            row, room = count, size
            count += 1
        else:
            row = top[room]
            top[room] = below[row]
            if top[room] < 0:
                used[room >> 6] &= ~(np.uint64(1) << np.uint64(room & 63))
        rows[i] = row
        left = room - length
        if left > 0:
            below[row] = top[left]
            top[left] = row
            used[left >> 6] |= np.uint64(1) << np.uint64(left & 63)
    return rows, count


@numba.njit(cache=True, nogil=True)
def _least_room(used: npt.NDArray[np.uint64], length: int) -> int:
    """The least set bit at or above `length`, -1 where there is none."""
    word = length >> 6
    bits = used[word] >> np.uint64(length & 63)
    if bits != 0:
        room = length
    else:
        word += 1
        while word < len(used) and used[word] == 0:
            word += 1
        if word == len(used):
            return -1
        bits = used[word]
        room = word << 6
    while bits & np.uint64(1) == 0:
        bits >>= np.uint64(1)
        room += 1
    return room


@numba.njit(cache=True, nogil=True)
def copy_segments(
    source: npt.NDArray[np.generic],
    starts: Ints,
    target: npt.NDArray[np.generic],
    places: Ints,
    lengths: Ints,
) -> None:
    """`target[places[i]:][:lengths[i]] = source[starts[i]:][:lengths[i]]` for every i."""
    for i in range(len(lengths)):
        start, place = starts[i], places[i]
        for k in range(lengths[i]):
            target[place + k] = source[start + k]


def mix64(values: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 of each value under a seed: a hash that is the same everywhere."""
    with np.errstate(over="ignore"):
        x = values + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
