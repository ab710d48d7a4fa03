"""Texts to hashed words, a chunk at a time, without a branch a character.

Words are runs of letters and digits in lower case; in scripts without spaces each character is
one. In code case counts and each mark is a word too; so it is in a text of nothing but marks.
"""

import numpy as np
import numpy.typing as npt

from filters.characters import Folds, decode, fold
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints

Codes = npt.NDArray[np.int32]

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
def _fold_chunk(chunk: Bytes, table: Folds, codes: Codes) -> int:
    """The chunk's characters folded, a 0 behind the last; words of one character between 0s."""
    highest, held = np.uint8(0), 0
    for k in range(len(chunk)):
        highest |= chunk[k]
    if highest < 128 and table[33] == 0:
        for k in range(len(chunk)):
            codes[k] = table[chunk[k]]
        held = len(chunk)
    else:
        at = 0
        while at < len(chunk):
            if chunk[at] < 128 and table[chunk[at]] >= 0:
                codes[held] = table[chunk[at]]
                held, at = held + 1, at + 1
                continue
            code, length = decode(chunk, at, len(chunk))
            folded = fold(code, table)
            at += length
            if folded < 0:
                codes[held], codes[held + 1] = 0, -folded
                folded, held = 0, held + 2
            codes[held] = folded
            held += 1
    codes[held] = 0
    return held + 1


@kernel
def _hash_words(codes: Codes, held: int, words: Hashes, ends: Ints, first: int) -> int:
    """Hash the runs between 0s into words[first:].

    A rotating hash runs over all codes; that of a word is what is left of it once the state
    before the word, rotated as far, is taken out. So no step depends on a branch.
    """
    state, before, count = np.uint64(0), np.int32(0), first
    part = codes[:held]
    for k in range(len(part)):
        code = part[k]
        words[count] = state
        ends[count] = k
        count += (code == 0) & (before != 0)
        state = (state << np.uint64(7) | state >> np.uint64(57)) ^ np.uint64(code)
        before = code
    state, behind = np.uint64(0), 0
    for k in range(first, count):
        turn = np.uint64((7 * (ends[k] - behind)) & 63)
        turned = state << turn | state >> ((np.uint64(64) - turn) & np.uint64(63))
        state, behind = words[k], ends[k]
        words[k] = finish(words[k] ^ turned)
    return count


@kernel
def split_chunk(
    chunk: Bytes, table: Folds, codes: Codes, words: Hashes, ends: Ints, first: int
) -> int:
    """Words of a chunk into words[first:]; the count with those before `first`.

    `codes`, `words` and `ends` need 3 * CHUNK entries and some more.
    """
    return _hash_words(codes, _fold_chunk(chunk, table, codes), words, ends, first)
