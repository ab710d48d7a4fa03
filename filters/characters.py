"""What kernels know of Unicode: the class and the folded form of each code point.

Tables cover the code points below TABLE; of those above only the ideographs are words.
"""

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

from filters.compiled import kernel

Classes = npt.NDArray[np.uint8]
Folds = npt.NDArray[np.int32]
Codes = npt.NDArray[np.uint32]

SPACE, MARK, WORD, DIGIT, IDEOGRAPH = 0, 1, 2, 3, 4
"""White space and controls; punctuation and symbols; what words are made of; decimal digits;
characters of scripts that put no space between words: each counts as a word."""

TABLE = 0x20000
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D),
)
_CLASSES = {"Z": SPACE, "C": SPACE, "P": MARK, "S": MARK, "L": WORD, "M": WORD, "N": WORD}


@functools.cache
def classes() -> Classes:
    """The class of each code point below TABLE."""
    categories = [unicodedata.category(chr(code)) for code in range(TABLE)]
    found = np.array([_CLASSES[category[0]] for category in categories], np.uint8)
    found[[category == "Nd" for category in categories]] = DIGIT
    found[[category == "Cf" for category in categories]] = WORD  # joiners stand inside words
    for first, last in _UNSPACED:
        inside = found[first : last + 1]
        inside[inside == WORD] = IDEOGRAPH
    return found


@functools.cache
def folds() -> tuple[Folds, Folds]:
    """What a code point counts as in words: for prose, in lower case, and for code as it is.

    0 separates words; a negative code is a word of its own: ideographs, and in code marks.
    """
    kinds, whole = classes(), np.arange(TABLE, dtype=np.int32)
    lower = whole.copy()
    for code in np.flatnonzero(kinds == WORD).tolist():
        small = chr(code).lower()
        if len(small) == 1:
            lower[code] = ord(small)
    inside = (kinds == WORD) | (kinds == DIGIT)
    prose = np.where(inside, lower, np.where(kinds == IDEOGRAPH, -whole, 0))
    code = np.where(inside, whole, np.where(kinds == SPACE, 0, -whole))
    return prose.astype(np.int32), code.astype(np.int32)


@kernel
def decode(data: npt.NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The code point at byte `at` and its length in bytes; -1 for a byte that is no UTF-8."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, 1
    if 0xC0 <= lead < 0xE0 and at + 1 < end:
        return (lead & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), 2
    if 0xE0 <= lead < 0xF0 and at + 2 < end:
        two = (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F)
        return (lead & 0x0F) << 12 | two, 3
    if 0xF0 <= lead < 0xF8 and at + 3 < end:
        high = (np.int64(data[at + 1]) & 0x3F) << 12 | (np.int64(data[at + 2]) & 0x3F) << 6
        return (lead & 0x07) << 18 | high | (np.int64(data[at + 3]) & 0x3F), 4
    return -1, 1


@kernel
def classify(code: int, table: Classes) -> int:
    if 0 <= code < TABLE:
        return np.int64(table[code])
    return IDEOGRAPH if TABLE <= code < 0x40000 else SPACE


@kernel
def fold(code: int, table: Folds) -> int:
    if 0 <= code < TABLE:
        return np.int64(table[code])
    return -code if TABLE <= code < 0x40000 else 0


@kernel
def to_codes(text: npt.NDArray[np.uint8], codes: Codes) -> int:
    """Code points of a text, a byte that is no UTF-8 as U+FFFD; how many."""
    held, at, size = np.uint64(0), np.uint64(0), np.uint64(len(text))
    while at < size:
        if text[at] < 128:
            codes[held] = text[at]
            at += np.uint64(1)
        else:
            code, length = decode(text, np.int64(at), np.int64(size))
            codes[held] = code if 0 <= code < TABLE else 0x4E00 if code >= TABLE else 0xFFFD
            at += np.uint64(length)
        held += np.uint64(1)
    return np.int64(held)
