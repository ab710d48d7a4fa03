"""Documents into rows of T tokens, planned over the whole output.

Documents longer than T are cut into pieces of T and a rest. Pieces go, longest first, into the
row with the least room that still holds them, ties by the document's key, so rows do not depend
on the order of arrival. A text that would open more rows than the tokens need is split to fill:
it fills the emptiest row, and its rest is placed in its turn. Conversations are never split.
Rows are shuffled at the end: best-fit leaves them sorted.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from data.ordering import order_of

ALGORITHMS = {"best_fit": "best-fit-decreasing/2", "concat": "concatenate-and-cut/1"}
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Packing:
    """Fragments sorted by row, then by their place in the row.

    `document` indexes the packed documents, `offset` is the fragment's first token in its
    document, `row_starts` has one more entry than there are rows.
    """

    document: Ints
    offset: Places | Ints
    length: Places | Ints
    row_starts: Ints

    @property
    def rows(self) -> int:
        return len(self.row_starts) - 1


def pack(
    lengths: Ints,
    keys: npt.NDArray[np.uint64],
    sequence_length: int,
    seed: int,
    *,
    whole: npt.NDArray[np.bool_] | None = None,
    concat: bool = False,
) -> Packing:
    """`lengths` in tokens of the documents, `keys` that order equals (their ids).

    `whole` documents are never split and must not be longer than a row. `concat` cuts the
    stream of all documents, in an order drawn from the seed, into rows. Empty documents take no
    place.
    """
    if concat:
        return _concatenate(lengths, keys, sequence_length, seed)
    solid = np.zeros(len(lengths), bool) if whole is None else whole
    if (lengths[solid] > sequence_length).any():
        raise ValueError("a document that must stay whole is longer than a row")
    order = order_of(keys)
    wanted = -(-int(lengths.sum()) // sequence_length)
    document, offset, length, row, count = _best_fit(lengths, order, solid, sequence_length, wanted)
    place = np.random.Generator(np.random.Philox(seed)).permutation(count)
    return Packing(*_by_row(document, offset, length, row, place))


def _concatenate(lengths: Ints, keys: npt.NDArray[np.uint64], size: int, seed: int) -> Packing:
    order = np.lexsort((keys, mix64(keys, seed ^ 0xC0CA7)))
    order = order[lengths[order] > 0]
    ends = np.cumsum(lengths[order])
    starts = ends - lengths[order]
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.arange(0, total, size)
    begin = np.union1d(starts, cuts)
    document = np.searchsorted(ends, begin, "right")
    length = np.diff(np.append(begin, total))
    row_starts = np.append(np.searchsorted(begin, cuts), len(begin)).astype(np.int64)
    return Packing(order[document], begin - starts[document], length, row_starts)


@numba.njit(cache=True, nogil=True)
def _by_length(
    lengths: Ints, order: Ints, size: int, spare: int
) -> tuple[Places, Places, Places, Ints]:
    """Pieces of at most `size`, longest first and else in the order of their documents, with
    `spare` unused places behind them; where pieces of each length start."""
    starts = np.zeros(size + 2, np.int64)
    for i in range(len(lengths)):
        starts[size] += lengths[i] // size
        starts[lengths[i] % size] += 1
    starts[0] = 0
    total = 0
    for need in range(size, 0, -1):
        here = starts[need]
        starts[need] = total
        total += here
    starts[0] = total
    document = np.empty(total + spare, np.int32)
    offset = np.empty(total + spare, np.int32)
    length = np.empty(total + spare, np.int32)
    free = starts.copy()
    for i in order:
        at = 0
        left = lengths[i]
        while left > 0:
            need = min(left, size)
            place = free[need]
            free[need] += 1
            document[place], offset[place], length[place] = i, at, need
            at += need
            left -= need
    return document, offset, length, starts


@numba.njit(cache=True, nogil=True)
def _best_fit(  # noqa: PLR0912 - one loop, its branches are the algorithm
    lengths: Ints, order: Ints, solid: npt.NDArray[np.bool_], size: int, wanted: int
) -> tuple[Places, Places, Places, Places, int]:
    """Document, offset, length and row of each fragment, and the number of rows.

    Rows with equal room wait in a stack, so a fragment costs the same whatever their number.
    With `wanted` rows in use, a text that fits nowhere is split instead of opening another row;
    its rest is placed behind the pieces of its length.
    """
    document, offset, length, starts = _by_length(lengths, order, size, wanted)
    row = np.empty(len(document), np.int32)
    count = starts[0]
    rows = starts[size - 1]
    for i in range(rows):
        row[i] = i
    following = np.full(wanted + 1, -1, np.int32)
    head = np.full(size + 1, -1, np.int32)
    tail = np.full(size + 1, -1, np.int32)
    top = np.full(size + 1, -1, np.int32)
    below = np.empty(starts[0] + wanted + 1, np.int32)
    used = np.zeros(size // 64 + 1, np.uint64)
    sweeps = 2 if wanted and solid.any() else 1  # conversations first: texts fill around them
    for turn in range(sweeps * (size - 1)):
        need = size - 1 - turn % (size - 1)
        piece = starts[need]
        if piece == starts[need - 1]:
            piece = head[need]
        while piece >= 0:
            if sweeps == 1 or solid[document[piece]] == (turn < size - 1):
                room = _least_room(used, need)
                if room < 0 and 0 < wanted <= rows and not solid[document[piece]]:
                    room = _most_room(used)
                if room < 0:
                    target, room = rows, size
                    rows += 1
                else:
                    target = _take_row(top, below, used, room)
                row[piece] = target
                if room < need:
                    rest = need - room
                    length[piece] = room
                    document[count], offset[count] = document[piece], offset[piece] + room
                    length[count] = rest
                    if head[rest] < 0:
                        head[rest] = count
                    else:
                        following[tail[rest] - starts[0]] = count
                    tail[rest] = count
                    count += 1
                elif room > need:
                    _put_row(top, below, used, room - need, target)
            if piece >= starts[0]:
                piece = following[piece - starts[0]]
            elif piece + 1 < starts[need - 1]:
                piece += 1
            else:
                piece = head[need]
    return document[:count], offset[:count], length[:count], row[:count], rows


@numba.njit(cache=True, nogil=True)
def _take_row(top: Places, below: Places, used: npt.NDArray[np.uint64], room: int) -> int:
    """A row with that room, off its stack."""
    row = top[room]
    top[room] = below[row]
    if top[room] < 0:
        used[room >> 6] &= ~(np.uint64(1) << np.uint64(room & 63))
    return int(row)


@numba.njit(cache=True, nogil=True)
def _put_row(top: Places, below: Places, used: npt.NDArray[np.uint64], room: int, row: int) -> None:
    below[row] = top[room]
    top[room] = row
    used[room >> 6] |= np.uint64(1) << np.uint64(room & 63)


@numba.njit(cache=True, nogil=True)
def _least_room(used: npt.NDArray[np.uint64], length: int) -> int:
    """The least set bit at or above `length`, -1 where there is none."""
    word = length >> 6
    bits = used[word] >> np.uint64(length & 63) << np.uint64(length & 63)
    while bits == 0:
        word += 1
        if word == len(used):
            return -1
        bits = used[word]
    room = word << 6
    half = 32
    while half:
        if bits & ((np.uint64(1) << np.uint64(half)) - np.uint64(1)) == 0:
            bits >>= np.uint64(half)
            room += half
        half >>= 1
    return room


@numba.njit(cache=True, nogil=True)
def _most_room(used: npt.NDArray[np.uint64]) -> int:
    """The greatest set bit, -1 where there is none."""
    word = len(used) - 1
    while word >= 0 and used[word] == 0:
        word -= 1
    if word < 0:
        return -1
    bits = used[word]
    room = word << 6
    half = 32
    while half:
        if bits >> np.uint64(half):
            bits >>= np.uint64(half)
            room += half
        half >>= 1
    return room


@numba.njit(cache=True, nogil=True)
def _by_row(
    document: Places, offset: Places, length: Places, row: Places, place: Ints
) -> tuple[Ints, Places, Places, Ints]:
    """The fragments of each row together, rows at their places; and where each row starts."""
    rows = len(place)
    free = np.zeros(rows, np.int32)  # how many fragments a row has, then where its next one goes
    for i in range(len(row)):
        free[row[i]] += 1
    starts = np.zeros(rows + 1, np.int64)
    for i in range(rows):
        starts[place[i] + 1] = free[i]
    for i in range(rows):
        starts[i + 1] += starts[i]
    for i in range(rows):
        free[i] = starts[place[i]]
    found = np.empty((len(row), 4), np.int32)  # all of a fragment in one cache line
    for i in range(len(row)):
        at = free[row[i]]
        free[row[i]] = at + 1
        found[at, 0], found[at, 1], found[at, 2] = document[i], offset[i], length[i]
    return found[:, 0].astype(np.int64), found[:, 1].copy(), found[:, 2].copy(), starts


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
        segment = source[starts[i] : starts[i] + lengths[i]]
        place = target[places[i] : places[i] + lengths[i]]
        for k in range(len(place)):  # over slices, with no sum to wrap: four times as fast
            place[k] = segment[k]


def mix64(values: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 of each value under a seed: a hash that is the same everywhere."""
    with np.errstate(over="ignore"):
        x = values + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
