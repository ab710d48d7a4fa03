"""Words of texts, as kernels split them 64 bytes at once, are those of a plain loop."""

import random

import numpy as np
import polars as pl
import pytest

from filters.characters import TABLE, folds
from filters.kernels import utf8
from filters.ngrams import split_all, word_spans
from filters.words import CHUNK

LETTERS = "aAbzZ09" * 6 + " " * 12 + "\n\t\0\x7f.,_@[`{/:" + "éÉßİȺюЮ水ไ한́\u200d“\u00a0😀𠀀𞤀"


def plain(text: bytes, table: np.ndarray) -> list[tuple[int, ...]]:
    """Folded code points of each word."""
    words: list[tuple[int, ...]] = []
    word: tuple[int, ...] = ()
    for code in map(ord, text.decode()):
        folded = int(table[code]) if code < TABLE else -code if code < 0x40000 else 0
        if folded <= 0 and word:
            words.append(word)
            word = ()
        if folded < 0:
            words.append((-folded,))
        if folded > 0:
            word += (folded,)
    return [*words, word] if word else words


def texts() -> list[bytes]:
    draw = random.Random(0)
    made = ["".join(draw.choices(LETTERS, k=size)) for size in range(330)]
    made += ["x" * size + end for size in range(1, 140) for end in (" Y", "é", "水", ".x")]
    made += [made[7] * (CHUNK // 4), "Ⱥ" * (CHUNK + 9), "".join(map(chr, range(128))) * 200]
    return [text.encode() for text in made]


def broken() -> list[bytes]:
    """Texts that begin or end within a character, and bytes that no UTF-8 has."""
    cut = [text[1:-1] for text in texts()[200:330]]
    return [*cut, *(bytes([byte]) * size for byte in range(128, 256) for size in (1, 3, 70))]


@pytest.mark.parametrize("table", folds(), ids=["prose", "code"])
def test_words_are_those_of_a_plain_loop(table: np.ndarray) -> None:
    valid = texts()
    given = [*valid, *broken()]
    data = np.frombuffer(b"".join(given), np.uint8)
    offsets = np.cumsum([0, *map(len, given)])
    for array in (data, offsets):
        array.flags.writeable = False
    hashes, borders = split_all(data, offsets, table)
    known: dict[int, tuple[int, ...]] = {}
    for row, text in enumerate(given):
        found = hashes[borders[row] : borders[row + 1]].tolist()
        assert len(word_spans(data[offsets[row] : offsets[row + 1]], table)) == len(found), text
        if row < len(valid) and len(text) <= CHUNK:
            for number, word in zip(found, plain(text, table), strict=True):
                assert known.setdefault(number, word) == word, text
    assert len(known) == len(set(known.values())) > 500


def test_a_long_text_is_cut_at_spaces_only() -> None:
    text = "Ünder the sea " * CHUNK
    hashes, _ = split_all(*utf8(pl.Series([text])), folds()[0])
    assert len(hashes) == 3 * CHUNK
    assert len(set(hashes.tolist())) == 3
