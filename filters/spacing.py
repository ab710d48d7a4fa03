"""Texts to the tokens that spaCy's English rules give, for filters whose thresholds mean those.

White space splits; marks come off both ends of a piece, some split its inside, and contractions
come apart. The rules cover what running text has, not emoticons or URLs; tests compare them with
spaCy.
"""

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

from filters.characters import Codes
from filters.compiled import kernel
from filters.kernels import Hashes, Ints
from filters.words import BASE, finish, listed

Traits = npt.NDArray[np.uint16]

TABLE = 0x20000
BLANK, PREFIX, SUFFIX, ALPHA, LOWER, UPPER, NUMERIC, SYMBOL, TERMINAL, BREAK, ICON = (
    1 << bit for bit in range(11)
)
_OPENING = "§%=—–+…,:;!?¿¡()[]{}<>_#*&。？！，、；：～·।،۔'\"”“`‘´’‚„»«「」『』（）【】《》〈〉"
_CLOSING = _OPENING.replace("§", "").replace("%", "").replace("=", "").replace("+", "")
_SYMBOLS = (
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
)
_TERMINALS = ".?!？．。！｡؟۔।॥։።፧፨។៕‼‽⁇⁈⁉⸮⸼﹒﹖﹗၊။꓿᙮܀܁܂߹᠃᠉꘎꘏"
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_ABBREVIATIONS = """a.m p.m e.g i.e Mr Mrs Ms Dr Prof St Jr Sr Co Corp Inc Ltd vs v.s Adm Bros Gen
Gov Rep Rev Sen Messrs Mt Ph.D Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Ala Ariz Ark Calif
Colo Conn Del Fla Ga Ia Id Ill Ind Kans Kan Ky La Mass Md Mich Minn Miss Mo Mont N.C N.D N.H N.J
N.M N.Y Neb Nebr Nev Okla Ore Pa S.C Tenn Va Wash Wis"""
_UNITS = """km m dm cm mm ha nm yd in ft kg g mg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb
GB tb TB T G M K"""


@functools.cache
def traits() -> Traits:
    """What the rules ask of each code point below TABLE, one bit each."""
    found = np.zeros(TABLE, np.uint16)
    for code in range(TABLE):
        character = chr(code)
        category = unicodedata.category(character)
        bits = BLANK * character.isspace() | ALPHA * character.isalpha()
        bits |= LOWER * (category == "Ll") | UPPER * (category == "Lu")
        bits |= SYMBOL * (category == "Cc") | NUMERIC * character.isascii() * character.isdigit()
        bits |= (PREFIX | SUFFIX | ICON) * (category == "So") | PREFIX * (category == "Sc")
        found[code] = bits
    for characters, bit in (
        (_OPENING, PREFIX),
        (_CLOSING, SUFFIX),
        (_SYMBOLS, SYMBOL),
        (_TERMINALS, TERMINAL | SYMBOL),
        (_BREAKS, BREAK),
    ):
        for character in characters:
            found[ord(character)] |= bit
    return found


@kernel
def hash_codes(codes: Codes, start: int, end: int) -> np.uint64:
    state = np.uint64(0)
    for k in range(start, end):
        state = state * BASE + np.uint64(codes[k] + 1)
    return finish(state)


@functools.cache
def word_hashes(listed: str) -> Hashes:
    """The sorted hashes of words that are separated by spaces."""
    codes = [np.array([ord(c) for c in word], np.uint32) for word in listed.split()]
    return np.sort(np.array([hash_codes(word, 0, len(word)) for word in codes], np.uint64))


def abbreviations() -> Hashes:
    return word_hashes(_ABBREVIATIONS)


def units() -> Hashes:
    return word_hashes(_UNITS)


@kernel
def _suffix(
    codes: Codes, start: int, end: int, traits: Traits, abbreviated: Hashes, units: Hashes
) -> int:
    """How many characters come off the end of a piece as one token; 0 for none."""
    last = codes[end - 1]
    before = codes[end - 2] if end - start > 1 else 0
    bits = traits[before]
    if end - start > 2 and (before == 39 or before == 0x2019) and (last == 115 or last == 83):
        return 2  # 's
    if last == 46:
        dots = 1
        while end - dots > start and codes[end - dots - 1] == 46:
            dots += 1
        if dots > 1:
            return dots
        if end - start == 1 or (end - start == 2 and bits & ALPHA):
            return 0
        capitals = end - start > 2 and bits & UPPER and traits[codes[end - 3]] & UPPER
        closes = bits & (LOWER | NUMERIC | SUFFIX) or before == 45 or before == 37 or before == 43
        if not (capitals or closes):
            return 0
        return 0 if listed(abbreviated, hash_codes(codes, start, end - 1)) else 1
    if traits[last] & SUFFIX and end - start > 1:
        return 1
    if (
        end - start > 1
        and bits & NUMERIC
        and (last == 37 or last == 43 or last == 36 or last == 0xA3 or last == 0x20AC)
    ):
        return 1
    if traits[last] & ALPHA:
        first = end
        while first > start and end - first < 5 and not traits[codes[first - 1]] & NUMERIC:
            first -= 1
        digit = first > start and traits[codes[first - 1]] & NUMERIC
        if digit and listed(units, hash_codes(codes, first, end)):
            return end - first
    return 0


@kernel
def _infix(codes: Codes, at: int, start: int, end: int, traits: Traits) -> int:
    """How many characters from `at` on split a piece; 0 for none."""
    code = codes[at]
    if code == 0x2026 or traits[code] & ICON:
        return 1
    if code == 46 and at + 1 < end and codes[at + 1] == 46:
        dots = 2
        while at + dots < end and codes[at + dots] == 46:
            dots += 1
        return dots
    if at == start or at + 1 >= end:
        return 0
    before, behind = traits[codes[at - 1]], traits[codes[at + 1]]
    if (
        (code == 43 or code == 45 or code == 42 or code == 94)
        and before & NUMERIC
        and (behind & NUMERIC or codes[at + 1] == 45)
    ):
        return 1
    if code == 46:
        return 1 if before & LOWER and behind & UPPER else 0
    if (code == 44 or code == 126) and before & ALPHA and behind & ALPHA:
        return 1
    if (code == 45 or code == 0x2013 or code == 0x2014) and before & ALPHA:
        dashes = 1
        while code == 45 and dashes < 3 and at + dashes < end and codes[at + dashes] == 45:
            dashes += 1
        if at + dashes < end and traits[codes[at + dashes]] & ALPHA:
            return dashes
    if (
        (code == 58 or 60 <= code <= 62 or code == 47)
        and before & (ALPHA | NUMERIC)
        and behind & ALPHA
    ):
        return 1
    return 0


@kernel
def _contraction(codes: Codes, start: int, end: int) -> int:
    """How many characters at the end of a word are a contracted one; 0 for none."""
    size = end - start
    if size > 3:
        mark = codes[end - 2] == 39 or codes[end - 2] == 0x2019
        if mark and codes[end - 3] == 110 and codes[end - 1] == 116:
            return 3  # n't
        mark = codes[end - 3] == 39 or codes[end - 3] == 0x2019
        a, b = codes[end - 2], codes[end - 1]
        if mark and ((a == 108 and b == 108) or ((a == 114 or a == 118) and b == 101)):
            return 3  # 'll 're 've
    if size > 1 and (codes[end - 2] == 39 or codes[end - 2] == 0x2019):
        return 2 if codes[end - 1] == 109 or codes[end - 1] == 100 else 0  # 'm 'd
    whole = size == 6 and codes[start + 1] == 97 and codes[start + 2] == 110
    if whole and codes[start + 3] == 110 and codes[start + 4] == 111 and codes[start + 5] == 116:
        return 3 if codes[start] == 99 or codes[start] == 67 else 0  # cannot
    return 0


@kernel
def tokenize(
    codes: Codes,
    length: int,
    traits: Traits,
    abbreviated: Hashes,
    units: Hashes,
    ends: Ints,
    hashes: Hashes,
) -> int:
    """First and last character of each token into ends[2 * n] and ends[2 * n + 1], and into
    hashes[n] the hash of a token of letters alone, for others 0."""
    count, at = 0, 0
    while at < length:
        if traits[codes[at]] & BLANK:
            at += 1
            continue
        start, alone, before, state, shorter = at, True, True, np.uint64(0), np.uint64(0)
        k = np.uint64(at)  # numba tests signed indices for being negative
        while k < np.uint64(length):
            bits = traits[codes[k]]
            if bits & BLANK:
                break
            before, shorter = alone, state
            alone &= (bits & ALPHA) != 0
            state = state * BASE + np.uint64(codes[k] + 1)
            k += np.uint64(1)
        at = np.int64(k)
        end = at
        size = end - start
        if alone and size != 6:  # letters alone, and not "cannot": most words
            ends[2 * count], ends[2 * count + 1] = start, end
            hashes[count] = finish(state)
            count += 1
            continue
        last = codes[end - 1]
        mark = last == 44 or last == 59 or last == 58 or last == 33 or last == 63
        if before and last == 46 and size > 2 and traits[codes[end - 2]] & LOWER:
            mark = not listed(abbreviated, finish(shorter))
        if before and mark and size > 1 and size != 7:  # letters and one of .,;:!?
            ends[2 * count], ends[2 * count + 1] = start, end - 1
            ends[2 * count + 2], ends[2 * count + 3] = end - 1, end
            hashes[count], hashes[count + 1] = finish(shorter), np.uint64(0)
            count += 2
            continue
        first_token = count
        while start < end:
            step = 0
            if codes[start] == 46 and start + 1 < end and codes[start + 1] == 46:
                while start + step < end and codes[start + step] == 46:
                    step += 1
            elif traits[codes[start]] & PREFIX:
                digit = start + 1 < end and traits[codes[start + 1]] & NUMERIC
                step = 0 if codes[start] == 43 and digit else 1
            if not step:
                break
            ends[2 * count], ends[2 * count + 1] = start, start + step
            count, start = count + 1, start + step
        core = end
        while core > start:
            step = _suffix(codes, start, core, traits, abbreviated, units)
            if not step:
                break
            core -= step
        piece = start
        inside = start
        while inside < core:
            if traits[codes[inside]] & (ALPHA | NUMERIC):  # a call a letter would cost most of all
                inside += 1
                continue
            step = _infix(codes, inside, start, core, traits)
            if step:
                if inside > piece:
                    ends[2 * count], ends[2 * count + 1] = piece, inside
                    count += 1
                ends[2 * count], ends[2 * count + 1] = inside, inside + step
                count, inside = count + 1, inside + step
                piece = inside
            else:
                inside += 1
        if core > piece:
            tail = _contraction(codes, piece, core)
            if tail and core - tail > piece:
                ends[2 * count], ends[2 * count + 1] = piece, core - tail
                count, piece = count + 1, core - tail
            ends[2 * count], ends[2 * count + 1] = piece, core
            count += 1
        first = count  # what came off the end, put back in order
        while end > core:
            step = _suffix(codes, start, end, traits, abbreviated, units)
            step = min(step, end - core) if step else end - core
            ends[2 * count], ends[2 * count + 1] = end - step, end
            count, end = count + 1, end - step
        for turn in range((count - first) // 2):
            a, b = 2 * (first + turn), 2 * (count - 1 - turn)
            ends[a], ends[b] = ends[b], ends[a]
            ends[a + 1], ends[b + 1] = ends[b + 1], ends[a + 1]
        for token in range(first_token, count):
            hashes[token] = np.uint64(0)
    return count
