"""What must be equal of two texts before maths or code counts as the same.

Of maths: its numbers, spelled ones too, and operators, in order. Of code: its operators, numbers,
constants and short strings; comments, documentation and names are free.
"""

import functools

import numpy as np

from filters.characters import DIGIT, MARK, WORD, Classes, classes, classify, decode
from filters.compiled import kernel
from filters.kernels import Bytes, Hashes, Ints
from filters.shingles import Flags
from filters.words import BASE, finish, listed

_NUMERALS = """zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy
eighty ninety hundred thousand million billion half third thirds quarter quarters twice thrice
double triple plus minus times dozen"""
_CONSTANTS = "true false none null and or not in is if else"
_OPERATORS = tuple(ord(sign) for sign in "+*/^%<=>×÷−")


@kernel
def _name(data: Bytes, start: int, end: int) -> np.uint64:
    """A hash of a word, ASCII capitals as small letters."""
    state = np.uint64(0)
    for at in range(start, end):
        byte = data[at]
        state = state * BASE + np.uint64(byte + 32 if 65 <= byte <= 90 else byte)
    return finish(state)


@functools.cache
def _names(listed: str) -> Hashes:
    words = [np.frombuffer(word.encode(), np.uint8) for word in listed.split()]
    return np.sort(np.array([_name(word, 0, len(word)) for word in words], np.uint64))


@kernel
def _word_end(data: Bytes, at: int, end: int, table: Classes) -> int:
    while at < end:
        code, length = decode(data, at, end)
        kind = classify(code, table)
        if not WORD <= kind <= DIGIT:
            return at
        at += length
    return end


@kernel
def _skip_comment(data: Bytes, at: int, end: int) -> int:
    """Behind the comment or documentation string that starts here; `at` where none does."""
    quote = data[at]
    if quote == 35:
        while at < end and data[at] != 10:
            at += 1
        return at
    if at + 2 >= end or data[at + 1] != quote or data[at + 2] != quote:
        return at
    for close in range(at + 3, end - 2):
        if data[close] == quote and data[close + 1] == quote and data[close + 2] == quote:
            return close + 3
    return end


@kernel
def _string_end(data: Bytes, at: int, end: int) -> int:
    """Behind the string on one line that starts here; `at` where it is none."""
    close = at + 1
    while close < end and data[close] != 10:
        if data[close] == data[at]:
            return close + 1
        close += 2 if data[close] == 92 else 1
    return at


@kernel
def _is_operator(data: Bytes, start: int, at: int, end: int, code: int, table: Classes) -> bool:
    """Of maths: no bullet, no hyphen, no point or comma but inside a number."""
    before = np.int64(data[at - 1]) if at > start else np.int64(10)
    behind = np.int64(data[at + 1]) if at + 1 < end else np.int64(10)
    if code == 45:
        hyphen = classify(before, table) == WORD and classify(behind, table) == WORD
        return not hyphen and before != 10
    if code in (44, 46):
        return 48 <= behind <= 57
    if 0x2200 <= code < 0x2300:
        return True
    for sign in _OPERATORS:  # noqa: SIM110 - numba has no any()
        if code == sign:
            return True
    return False


@kernel
def _guard(
    data: Bytes, start: int, end: int, is_code: bool, names: Hashes, table: Classes
) -> np.uint64:
    state, at = np.uint64(2 if is_code else 1), start
    while at < end:
        if is_code and (data[at] == 35 or data[at] == 34 or data[at] == 39):
            behind = _skip_comment(data, at, end)
            if behind == at and data[at] != 35:
                behind = _string_end(data, at, end)
                state = finish(state * BASE + _name(data, at, behind))
            if behind > at:
                at = behind
                continue
        code, length = decode(data, at, end)
        kind = classify(code, table)
        if WORD <= kind <= DIGIT:
            behind = _word_end(data, at, end, table)
            name = _name(data, at, behind)
            digits = kind == DIGIT
            for k in range(at, behind):
                digits |= 48 <= data[k] <= 57
            if digits or listed(names, name):
                state = finish(state * BASE + name)
            at = behind
            continue
        operator = kind == MARK and (is_code or _is_operator(data, start, at, end, code, table))
        if operator:
            state = finish(state * BASE + np.uint64(code))
        at += length
    return state


@kernel
def _guards(
    data: Bytes,
    offsets: Ints,
    is_maths: Flags,
    is_code: Flags,
    numerals: Hashes,
    constants: Hashes,
    table: Classes,
) -> Hashes:
    found = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(found)):
        names, found[row] = constants if is_code[row] else numerals, 0
        if is_code[row] or is_maths[row]:  # one call, compiled for both
            found[row] = _guard(data, offsets[row], offsets[row + 1], is_code[row], names, table)
    return found


def guards(data: Bytes, offsets: Ints, is_maths: Flags, is_code: Flags) -> Hashes:
    """A hash of what must be equal; 0 for texts that are neither maths nor code."""
    if not (is_maths.any() or is_code.any()):  # spares the kernel's compilation
        return np.zeros(len(offsets) - 1, np.uint64)
    numerals, constants = _names(_NUMERALS), _names(_CONSTANTS)
    return _guards(data, offsets, is_maths, is_code, numerals, constants, classes())
