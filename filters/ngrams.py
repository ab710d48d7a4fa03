"""Look texts' word n-grams up in an index of items, and align what shares one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from filters.characters import Folds, decode, fold, folds
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints
from filters.words import Room, chunk_end, hash_ngrams, split_chunk, work_room

LONGEST_ITEM = 512
"""Words; longer items are looked for in pieces."""
Shares = npt.NDArray[np.float64]
_RUN = 3
"""Words in a row that count as taken over."""


@dataclass(frozen=True)
class Index:
    """Items and their n-grams.

    `words` of all items in a row with `borders`; each n-gram's hash is in the table `keys`
    (open addressing, 0 = free) with its places at `heads`, chained by `links`. `short` is the
    n-gram's length of short items, or that of all where no item is short.
    """

    words: Hashes
    borders: Ints
    filter: npt.NDArray[np.uint64]
    keys: Hashes
    heads: Ints
    links: Ints
    items: Ints
    places: Ints
    short: int


@kernel
def _split(text: Bytes, table: Folds, room: Room, out: Hashes) -> int:
    """All words of a text into `out`, of len(text) + 1 entries; how many."""
    at, count = np.int64(0), np.int64(0)
    while at < len(text):
        cut = chunk_end(text, at)
        count = split_chunk(text[at:cut], table, room, out, count)
        at = cut
    return count


@kernel
def split_all(data: Bytes, offsets: Ints, table: Folds) -> tuple[Hashes, Ints]:
    """The words of all texts in a row, and their borders."""
    room = work_room()
    words, borders = np.empty(len(data) + 2, np.uint64), np.zeros(len(offsets), np.int64)
    for row in range(len(offsets) - 1):
        count = _split(data[offsets[row] : offsets[row + 1]], table, room, words[borders[row] :])
        borders[row + 1] = borders[row] + count
    return words[: borders[-1]].copy(), borders


@kernel
def _build(
    words: Hashes, borders: Ints, size: int, short: int, room: int
) -> tuple[npt.NDArray[np.uint64], Hashes, Ints, Ints, Ints, Ints]:
    """Index every `size`-gram of long items and the first `short`-gram of short ones."""
    bits = np.zeros(1 << 16, np.uint64)
    keys, heads = np.zeros(room, np.uint64), np.full(room, -1, np.int64)
    links = np.full(len(words) + 1, -1, np.int64)
    items, places = np.zeros(len(words) + 1, np.int64), np.zeros(len(words) + 1, np.int64)
    sums = np.empty(len(words) + 1, np.uint64)
    held = 0
    for item in range(len(borders) - 1):
        count = borders[item + 1] - borders[item]
        if count < short:
            continue
        long = count >= size
        length = size if long else short
        grams = hash_ngrams(words[borders[item] : borders[item + 1]], count, length, sums)
        for k in range(grams if long else 1):
            key = sums[k] | np.uint64(1)
            slot = np.int64(key >> np.uint64(20)) & (room - 1)
            while keys[slot] != 0 and keys[slot] != key:
                slot = (slot + 1) & (room - 1)
            keys[slot] = key
            links[held], heads[slot] = heads[slot], held
            items[held], places[held] = item, k
            bits[np.int64(key >> np.uint64(48))] |= np.uint64(1) << (
                key >> np.uint64(2) & np.uint64(63)
            )
            held += 1
    return bits, keys, heads, links[:held].copy(), items[:held].copy(), places[:held].copy()


def build_index(data: Bytes, offsets: Ints, size: int, short: int) -> Index:
    words, borders = split_all(data, offsets, folds()[0])
    room = 1 << max(4, int(2 * len(words) + 2).bit_length())
    counts = np.diff(borders)
    shortest = short if ((counts >= short) & (counts < size)).any() else size
    bits, keys, heads, links, items, places = _build(words, borders, size, short, room)
    return Index(words, borders, bits, keys, heads, links, items, places, shortest)


@kernel
def _aligned(
    item: Hashes, text: Hashes, best: npt.NDArray[np.int32], runs: npt.NDArray[np.int32]
) -> int:
    """Words of the item that the text has in the same order, in runs of _RUN and more."""
    width = len(text) + 1
    for k in range(width):
        best[k], runs[k] = 0, 0
    for i in range(1, len(item) + 1):
        row = i * width
        best[row], runs[row] = 0, 0
        for j in range(1, width):
            value = max(best[row + j - 1], best[row - width + j])
            run = runs[row - width + j - 1] + 1 if item[i - 1] == text[j - 1] else 0
            runs[row + j] = run
            if run >= _RUN:
                value = max(value, best[(i - run) * width + j - run] + run)
            best[row + j] = value
    return best[len(item) * width + len(text)]


@kernel
def _wider(found: Ints, shares: Shares) -> tuple[Ints, Shares]:
    """The same with as much room again. Row by row: what assigning a slice compiles, for the
    words of an error alone, takes five seconds."""
    held = len(shares)
    rows, more = np.empty((2 * held, 4), np.int64), np.empty(2 * held, np.float64)
    for k in range(held):
        more[k] = shares[k]
        for column in range(4):
            rows[k, column] = found[k, column]
    return rows, more


@kernel
def find_matches(
    data: Bytes,
    offsets: Ints,
    table: Folds,
    size: int,
    short: int,
    item_words: Hashes,
    item_borders: Ints,
    bits: npt.NDArray[np.uint64],
    keys: Hashes,
    heads: Ints,
    links: Ints,
    items: Ints,
    places: Ints,
    least: float,
) -> tuple[Ints, Shares]:
    """Texts and the items of which they hold more than `least`, every item that shares an
    n-gram measured by itself. Rows of text, item, first word and word behind; the shares."""
    found = np.empty((64, 4), np.int64)
    shares = np.empty(64, np.float64)
    held = 0
    longest = 1
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    sums, words = np.empty(longest + 2, np.uint64), np.empty(longest + 2, np.uint64)
    room = work_room()
    checked = np.full(len(item_borders), -1, np.int64)  # the word up to which an item is done
    owner = np.full(len(item_borders), -1, np.int64)
    best, runs = np.empty(1, np.int32), np.empty(1, np.int32)
    for row in range(len(offsets) - 1):
        text = words[: _split(data[offsets[row] : offsets[row + 1]], table, room, words)]
        for turn in range(1 if short == size else 2):
            length = short if turn else size
            for at in range(hash_ngrams(text, len(text), length, sums)):
                key = sums[at] | np.uint64(1)
                if not bits[np.int64(key >> np.uint64(48))] >> (
                    key >> np.uint64(2) & np.uint64(63)
                ) & np.uint64(1):
                    continue
                slot = np.int64(key >> np.uint64(20)) & (len(keys) - 1)
                while keys[slot] != 0 and keys[slot] != key:
                    slot = (slot + 1) & (len(keys) - 1)
                link = heads[slot] if keys[slot] == key else -1
                while link >= 0:
                    item, place = items[link], places[link]
                    link = links[link]
                    count = item_borders[item + 1] - item_borders[item]
                    if (count < size) != (length < size):
                        continue
                    if owner[item] == row and at < checked[item]:
                        continue
                    whole = item_words[item_borders[item] : item_borders[item + 1]]
                    if count < size:
                        first, behind = at, at + count
                        if behind > len(text):
                            continue
                        same = True
                        for k in range(count):
                            same &= text[at + k] == whole[k]
                        share = 1.0 if same else 0.0
                    else:
                        slack = count // 4 + 2
                        first = max(0, at - place - slack)
                        behind = min(len(text), at - place + count + slack)
                        need = (count + 1) * (behind - first + 1)
                        if need > len(best):
                            best, runs = np.empty(need, np.int32), np.empty(need, np.int32)
                        share = _aligned(whole, text[first:behind], best, runs) / count
                        first, behind = max(0, at - place), min(len(text), at - place + count)
                    owner[item], checked[item] = row, behind
                    if share > least:
                        if held == len(shares):
                            found, shares = _wider(found, shares)
                        found[held, 0], found[held, 1] = row, item
                        found[held, 2], found[held, 3] = first, behind
                        shares[held] = share
                        held += 1
    return found[:held].copy(), shares[:held].copy()


@kernel
def word_spans(text: Bytes, table: Folds) -> Ints:
    """First byte and byte behind each word of one text, as `split_all` counts words."""
    spans = np.empty((len(text) + 1, 2), np.int64)
    count, at, start, limit = 0, 0, -1, 0
    while at < len(text):
        if at >= limit:  # chunks end words too
            limit = at + chunk_end(text[at:], np.int64(0))
            if start >= 0:
                spans[count, 0], spans[count, 1] = start, at
                count, start = count + 1, -1
        code, length = decode(text, at, len(text))
        folded = fold(code, table)
        if folded > 0:
            if start < 0:
                start = at
        else:
            if start >= 0:
                spans[count, 0], spans[count, 1] = start, at
                count, start = count + 1, -1
            if folded < 0:
                spans[count, 0], spans[count, 1] = at, at + length
                count += 1
        at += length
    if start >= 0:
        spans[count, 0], spans[count, 1] = start, at
        count += 1
    return spans[:count].copy()
