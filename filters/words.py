"""Texts to hashed words, a chunk at a time, 64 bytes at once.

Words are runs of letters and digits in lower case; in scripts without spaces each character is
one. In code case counts and each mark is a word too; so it is in a text of nothing but marks.
"""

import numpy as np
import numpy.typing as npt

from filters.characters import Folds, decode, fold
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes
from filters.lanes import count_bits, first_bit, fold_block, fold_product, load_word

Small = npt.NDArray[np.uint32]
Room = tuple[Bytes, Small, Small]

CHUNK = 16_384
"""Bytes that are split at once; texts without any space are cut there."""
BASE = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xE7037ED1A0B428DB)
_LOW = np.array([(1 << 8 * min(size, 8)) - 1 for size in range(17)], np.uint64)
_HIGH = np.array([(1 << 8 * max(size - 8, 0)) - 1 for size in range(17)], np.uint64)
"""Which bits of 16 bytes belong to a word of so many."""


@kernel
def finish(state: np.uint64) -> np.uint64:
    """Spread the entropy of 64 bits over all of them (MurmurHash3's last step)."""
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return state ^ (state >> np.uint64(33))


@kernel
def listed(hashes: Hashes, value: np.uint64) -> bool:
    """Whether sorted hashes hold one; NumPy's own search takes a second to compile."""
    first, behind = np.int64(0), np.int64(len(hashes))
    while first < behind:
        middle = (first + behind) >> 1
        if hashes[middle] < value:
            first = middle + 1
        else:
            behind = middle
    return first < len(hashes) and hashes[first] == value


@kernel
def chunk_end(data: Bytes, at: int) -> int:
    """Where the chunk from `at` on ends: behind a space, else before a whole character."""
    end = len(data)
    if end - at <= CHUNK:
        return end
    for cut in range(at + CHUNK, at, -1):
        if data[cut - 1] <= 32:
            return cut
    cut = at + CHUNK
    while cut > at + 1 and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


@kernel
def work_room() -> Room:
    """What `split_chunk` writes to: folded characters, and where words start and end in them."""
    folded = np.empty(2 * CHUNK + 128, np.uint8)
    return folded, np.empty(CHUNK + 8, np.uint32), np.empty(CHUNK + 8, np.uint32)


@kernel
def _put(folded: Bytes, at: np.uint64, code: np.uint64) -> np.uint64:
    """Write a character as UTF-8 has it; where it ends."""
    more = np.uint64(code >= 0x80) + np.uint64(code >= 0x800) + np.uint64(code >= 0x10000)
    lead = np.uint64(0xF00) >> more & np.uint64(0xFF) if more else np.uint64(0)
    folded[at] = lead | code >> np.uint64(6) * more
    while more:
        more -= np.uint64(1)
        at += np.uint64(1)
        folded[at] = np.uint64(0x80) | code >> np.uint64(6) * more & np.uint64(0x3F)
    return at + np.uint64(1)


@kernel
def _find_words(chunk: Bytes, table: Folds, folded: Bytes, starts: Small, ends: Small) -> int:
    """Copy a chunk's characters as `table` folds them; where words start and end; how many.

    64 bytes at once where they are ASCII, of which `fold_block` knows what `table` says.
    """
    # Unsigned throughout: numba tests signed indices for being negative, at twice the cost.
    at, size, held, one = np.uint64(0), np.uint64(len(chunk)), np.uint64(0), np.uint64(1)
    lower, marked = np.uint8(table[65] - 65), np.uint64(0) - np.uint64(table[33] < 0)
    begun, ended, in_word, in_mark = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    while at < size:
        clear = min(size - at, np.uint64(64))
        if clear == 64:
            words, marks, beyond = fold_block(chunk, at, folded, held, lower)
        else:  # what lies behind the text must not be read
            for k in range(64):
                folded[held + np.uint64(k)] = 0
            for k in range(clear):
                folded[held + np.uint64(k)] = chunk[at + np.uint64(k)]
            words, marks, beyond = fold_block(folded, held, folded, held, lower)
        clear = min(clear, first_bit(beyond))
        if clear:
            valid = ~np.uint64(0) >> (np.uint64(64) - clear)
            words, marks = words & valid, marks & valid & marked
            before, marks_before = words << one | in_word, marks << one | in_mark
            starting, ending = words & ~before | marks, (before & ~words | marks_before) & valid
            in_word, in_mark = words >> (clear - one), marks >> (clear - one)
            first, last = begun, ended
            begun, ended = begun + count_bits(starting), ended + count_bits(ending)
            while starting | ending:  # four at once, so that few words are a branch
                for k in range(4):
                    starts[first + np.uint64(k)] = held + first_bit(starting)
                    ends[last + np.uint64(k)] = held + first_bit(ending)
                    starting, ending = starting & (starting - one), ending & (ending - one)
                first, last = first + np.uint64(4), last + np.uint64(4)
            at, held = at + clear, held + clear
        while at < size and (chunk[at] >= 128 or (clear < 64 and chunk[at] <= 32)):
            read, length = decode(chunk, np.int64(at), np.int64(size))
            code = fold(read, table)
            at += np.uint64(length)
            if in_mark | (in_word & np.uint64(code <= 0)):
                ends[ended] = held
                ended += one
            if code < 0 or (code > 0 and not in_word):
                starts[begun] = held
                begun += one
            in_word, in_mark = np.uint64(code > 0), np.uint64(code < 0)
            if code:
                held = _put(folded, held, np.uint64(abs(code)))
    if in_word | in_mark:
        ends[ended] = held
    return np.int64(begun)


@kernel
def split_chunk(chunk: Bytes, table: Folds, room: Room, words: Hashes, first: int) -> int:
    """Hash a chunk's words into words[first:], which needs an entry a byte; the count with those
    before `first`. After wyhash: products of 128 bits, folded."""
    folded, starts, ends = room
    count = _find_words(chunk, table, folded, starts, ends)
    out = words[first : first + count]
    for k in range(count):
        at = np.uint64(starts[k])
        size = np.uint64(ends[k]) - at
        low, high = load_word(folded, at), load_word(folded, at + np.uint64(8))
        state = BASE * size
        while size > 16:
            state = fold_product(state ^ low, high ^ _ODD)
            at, size = at + np.uint64(16), size - np.uint64(16)
            low, high = load_word(folded, at), load_word(folded, at + np.uint64(8))
        low, high = low & _LOW[size], high & _HIGH[size]
        out[k] = fold_product(state ^ low, high ^ _ODD)
    return first + count


@kernel
def hash_ngrams(words: Hashes, count: int, size: int, out: Hashes) -> int:
    """All n-grams of `count` words into `out`; how many. The words' hashes, turned by their
    places and added without carry; after Cohen, "Recursive hashing functions for n-grams"
    (1997), but word by word for all n-grams at once, as vectors."""
    if count < size:
        return 0
    grams = count - size + 1
    sums = out[:grams]
    for k in range(grams):
        sums[k] = words[k]
    for place in range(1, size):
        added = words[place : place + grams]
        for k in range(grams):
            sums[k] = (sums[k] << np.uint64(9) | sums[k] >> np.uint64(55)) ^ added[k]
    return grams
