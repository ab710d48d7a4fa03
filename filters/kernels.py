"""Kernels over many texts at once. They read UTF-8 straight from Arrow's string buffers.

Nothing here makes a Python object per row or per token; all release the GIL.
"""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from filters.compiled import kernel

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_PRIME = np.uint64(0x9E3779B97F4A7C15)


def utf8(texts: pl.Series) -> tuple[Bytes, Ints]:
    """The bytes of all texts and len(texts) + 1 offsets; a null text is empty."""
    array = texts.fill_null("").to_arrow().cast(pa.large_string())
    offsets = np.frombuffer(array.buffers()[1], np.int64)
    offsets = offsets[array.offset : array.offset + len(array) + 1]
    content = array.buffers()[2]
    data = np.frombuffer(content, np.uint8) if content else np.zeros(0, np.uint8)
    for each in (data, offsets):  # as Arrow's own buffers are: a kernel is compiled for one kind
        each.flags.writeable = False
    return data, offsets


@kernel
def _mix(state: np.uint64, value: np.uint64) -> np.uint64:
    state = (state ^ value) * np.uint64(0xFF51AFD7ED558CCD)
    return state ^ (state >> np.uint64(32))


@kernel
def _normalized_hash(text: Bytes, fold: bool) -> tuple[np.uint64, np.uint64, bool]:
    """Two hashes, and whether anything was left of the text."""
    first, second = np.uint64(0x2545F4914F6CDD1D), np.uint64(0x5851F42D4C957F2D)
    gap, any_yet = False, False
    for at in range(len(text)):
        byte = text[at]
        if fold:
            if 65 <= byte <= 90:
                byte += 32
            is_word = 97 <= byte <= 122 or 48 <= byte <= 57 or byte >= 128
        else:
            is_word = byte > 32
        if not is_word:
            gap = True
            continue
        if gap and any_yet:
            first = _mix(first, np.uint64(32))
            second = _mix(second, np.uint64(32) + _PRIME)
        gap, any_yet = False, True
        first = _mix(first, np.uint64(byte))
        second = _mix(second, np.uint64(byte) + _PRIME)
    return first, second, any_yet


@kernel
def normalized_hashes(data: Bytes, offsets: Ints, fold: npt.NDArray[np.bool_]) -> Hashes:
    """Two independent 64-bit hashes a text, shape (rows, 2).

    White space runs count as one space and none at the ends. Where `fold` is set, ASCII
    letters count as lower case and ASCII punctuation as white space, unless there is nothing
    else; digits always count.
    """
    hashes = np.empty((len(offsets) - 1, 2), np.uint64)
    for row in range(len(offsets) - 1):
        text, folded = data[offsets[row] : offsets[row + 1]], fold[row]
        first, second, any_yet = _normalized_hash(text, folded)
        if folded and not any_yet:
            first, second, any_yet = _normalized_hash(text, not folded)
        hashes[row, 0], hashes[row, 1] = first, second
    return hashes


@kernel
def _words(data: Bytes, start: int, end: int) -> tuple[Hashes, Ints]:
    """Hash and byte length of each word (runs of anything but ASCII white space)."""
    count = 0
    inside = False
    for at in range(start, end):
        if data[at] <= 32:
            inside = False
        elif not inside:
            inside = True
            count += 1
    hashes, lengths = np.empty(count, np.uint64), np.zeros(count, np.int64)
    word = -1
    inside = False
    for at in range(start, end):
        byte = data[at]
        if byte <= 32:
            inside = False
            continue
        if not inside:
            inside = True
            word += 1
            hashes[word] = np.uint64(0x2545F4914F6CDD1D)
        hashes[word] = _mix(hashes[word], np.uint64(byte))
        lengths[word] += 1
    return hashes, lengths


@kernel
def repeated_ngrams(data: Bytes, offsets: Ints, size: int) -> npt.NDArray[np.float64]:
    """Share of each text's word bytes that lie in a `size`-gram seen earlier in the text."""
    shares = np.zeros(len(offsets) - 1, np.float64)
    for row in range(len(offsets) - 1):
        hashes, lengths = _words(data, offsets[row], offsets[row + 1])
        count = len(hashes) - size + 1
        if count < 2:
            continue
        grams = np.empty(count, np.uint64)
        for i in range(count):
            state = np.uint64(0)
            for k in range(size):
                state = _mix(state, hashes[i + k])
            grams[i] = state
        order = np.argsort(grams, kind="mergesort")
        repeated = np.zeros(len(hashes), np.bool_)
        for j in range(1, count):
            if grams[order[j]] == grams[order[j - 1]]:
                repeated[order[j] : order[j] + size] = True
        total, inside = 0, 0
        for i in range(len(hashes)):
            total += lengths[i]
            if repeated[i]:
                inside += lengths[i]
        shares[row] = inside / total
    return shares
