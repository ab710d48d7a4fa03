"""Texts to hashed words, a chunk at a time, without a branch a character.

Words are runs of letters and digits in lower case; in scripts without spaces each character is
one. In code case counts and each mark is a word too; so it is in a text of nothing but marks.
"""

import numpy as np

from filters.characters import Folds, decode, fold
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes

CHUNK = 16_384
"""Bytes that are split at once; texts without any space are cut there."""
BASE = np.uint64(0x9E3779B97F4A7C15)


@kernel
def finish(state: np.uint64) -> np.uint64:
    """Spread the entropy of 64 bits over all of them (MurmurHash3's last step)."""
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return state ^ (state >> np.uint64(33))


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
def _end_words(words: Hashes, ends: Hashes, first: np.uint64, count: np.uint64) -> np.uint64:
    """Turn the states at all 0s into the hashes of the words between them; how many."""
    state, behind, held, k = np.uint64(0), np.uint64(0), first, first
    while k < count:
        turn = (np.uint64(7) * (ends[k] - behind)) & np.uint64(63)
        turned = state << turn | state >> ((np.uint64(64) - turn) & np.uint64(63))
        is_word = ends[k] - behind > np.uint64(1)
        state, behind = words[k], ends[k]
        words[held] = finish(state ^ turned)
        held += np.uint64(is_word)
        k += np.uint64(1)
    return held


@kernel
def split_chunk(chunk: Bytes, table: Folds, words: Hashes, ends: Hashes, first: int) -> int:
    """Hash a chunk's words into words[first:]; the count with those before `first`.

    A rotating hash runs over all folded characters; that of a word is what is left of it once
    the state before the word, rotated as far, is taken out. So no step depends on a branch but
    for characters beyond ASCII. `words` and `ends` need 2 * len(chunk) + 1 entries from there.
    """
    # Unsigned throughout: numba tests signed indices for being negative, at twice the cost.
    state, count, place = np.uint64(0), np.uint64(first), np.uint64(1)
    at, size = np.uint64(0), np.uint64(len(chunk))
    while at < size:
        if chunk[at] < 128:
            code = np.int64(table[chunk[at]])
            at += np.uint64(1)
        else:
            read, length = decode(chunk, np.int64(at), np.int64(size))
            code = fold(read, table)
            at += np.uint64(length)
        if code < 0:  # a word of its own, between 0s
            words[count], ends[count] = state, place
            state = (state << np.uint64(14) | state >> np.uint64(50)) ^ np.uint64(-code)
            count += np.uint64(1)
            place += np.uint64(2)
            code = np.int64(0)
        words[count], ends[count] = state, place
        count += np.uint64(code == 0)
        state = (state << np.uint64(7) | state >> np.uint64(57)) ^ np.uint64(code)
        place += np.uint64(1)
    words[count], ends[count] = state, place
    return np.int64(_end_words(words, ends, np.uint64(first), count + np.uint64(1)))


@kernel
def hash_ngrams(words: Hashes, count: int, size: int, out: Hashes) -> int:
    """All n-grams of `count` words into `out`; how many. A hash that turns and takes words in
    and out; after Cohen, "Recursive hashing functions for n-grams" (1997)."""
    if count < size:
        return 0
    state = np.uint64(0)
    turn = np.uint64((9 * size) & 63)
    back = (np.uint64(64) - turn) & np.uint64(63)
    for k in range(size):
        state = (state << np.uint64(9) | state >> np.uint64(55)) ^ words[k]
    grams = count - size + 1
    out[0] = finish(state)
    for k in range(1, grams):
        gone = words[k - 1]
        state = (state << np.uint64(9) | state >> np.uint64(55)) ^ words[k + size - 1]
        state ^= gone << turn | gone >> back
        out[k] = finish(state)
    return grams
