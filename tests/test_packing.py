"""Packing: nothing lost, nothing doubled, rows full, order of arrival without effect."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from data.ordering import order_of
from data.packing import Packing, mix64, pack


def lengths(count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    drawn = np.random.default_rng(seed).lognormal(6.2, 0.9, count)
    return np.maximum(1, drawn).astype(np.int64)


def covered(packing: Packing, sizes: npt.NDArray[np.int64]) -> bool:
    """Whether the fragments cover each document's tokens exactly once."""
    seen = [np.zeros(size, np.int64) for size in sizes]
    rows = zip(packing.document, packing.offset, packing.length, strict=True)
    for document, offset, length in rows:
        seen[document][offset : offset + length] += 1
    return all((count == 1).all() for count in seen)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 512, 2048])
def test_every_token_lies_in_one_row_and_no_row_overflows(size: int) -> None:
    sizes = lengths(300)
    packing = pack(sizes, np.arange(300, dtype=np.uint64), size, seed=1)
    assert covered(packing, sizes)
    totals = np.add.reduceat(packing.length, packing.row_starts[:-1])
    assert totals.max() <= size
    assert len(totals) == packing.rows


def test_texts_are_split_to_fill_where_whole_ones_leave_much_empty() -> None:
    sizes = np.full(1000, 700)
    packing = pack(sizes, np.arange(1000, dtype=np.uint64), 1024, seed=1)
    assert covered(packing, sizes)
    assert packing.rows == -(-700 * 1000 // 1024)
    assert (np.bincount(packing.document) > 1).mean() < 0.5
    assert pack(np.full(99, 512), np.arange(99, dtype=np.uint64), 1024, seed=1).rows == 50


def test_a_whole_document_is_never_split() -> None:
    sizes = np.full(1000, 300)
    whole = np.arange(1000) % 2 == 0
    packing = pack(sizes, np.arange(1000, dtype=np.uint64), 512, seed=1, whole=whole)
    assert covered(packing, sizes)
    assert not (np.bincount(packing.document)[whole] > 1).any()
    assert sizes.sum() / (packing.rows * 512) > 0.98
    with pytest.raises(ValueError, match="longer than a row"):
        pack(sizes, np.arange(1000, dtype=np.uint64), 64, seed=1, whole=whole)


def test_concat_is_one_stream_in_a_seeded_order() -> None:
    sizes = lengths(300)
    ids = np.arange(300, dtype=np.uint64)
    packing = pack(sizes, ids, 128, seed=1, concat=True)
    assert covered(packing, sizes)
    assert packing.rows == -(-int(sizes.sum()) // 128)
    totals = np.add.reduceat(packing.length, packing.row_starts[:-1])
    assert (totals[:-1] == 128).all()
    other = pack(sizes[::-1], ids[::-1], 128, seed=1, concat=True)
    assert (299 - other.document).tolist() == packing.document.tolist()
    assert pack(sizes, ids, 128, seed=2, concat=True).document.tolist() != packing.document.tolist()


def test_best_fit_reaches_the_measured_fill() -> None:
    sizes = lengths(20_000)
    packing = pack(sizes, np.arange(len(sizes), dtype=np.uint64), 2048, seed=0)
    assert sizes.sum() / (packing.rows * 2048) > 0.98


def test_rows_hold_the_same_documents_whatever_the_order_of_arrival() -> None:
    sizes = lengths(500)
    ids = mix64(np.arange(500, dtype=np.uint64), 3)
    order = np.random.default_rng(5).permutation(500)

    def rows(packing: Packing, names: npt.NDArray[np.uint64]) -> list[list[tuple[int, int]]]:
        pairs = list(zip(names[packing.document].tolist(), packing.offset.tolist(), strict=True))
        starts = packing.row_starts.tolist()
        return [pairs[a:b] for a, b in itertools.pairwise(starts)]

    one = rows(pack(sizes, ids, 256, seed=9), ids)
    other = rows(pack(sizes[order], ids[order], 256, seed=9), ids[order])
    assert one == other


def test_rows_are_shuffled_by_the_seed() -> None:
    sizes = lengths(500)
    ids = np.arange(500, dtype=np.uint64)
    first, second = (pack(sizes, ids, 256, seed=seed) for seed in (1, 2))
    assert first.document.tolist() != second.document.tolist()
    filled = np.add.reduceat(first.length, first.row_starts[:-1])
    assert filled.tolist() != sorted(filled.tolist(), reverse=True)


@pytest.mark.parametrize("kind", ["hashes", "small", "high", "twice", "none"])
def test_keys_are_ordered_as_by_a_stable_sort(kind: str) -> None:
    hashes = mix64(np.arange(30_000, dtype=np.uint64), 1)
    top = np.uint64(2**64 - 1)
    keys = {
        "hashes": hashes,
        "small": np.arange(5000, dtype=np.uint64)[::-1].copy(),
        "high": top - hashes % np.uint64(2**40),
        "twice": hashes % np.uint64(1000),
        "none": hashes[:0],
    }[kind]
    assert order_of(keys).tolist() == np.argsort(keys, kind="stable").tolist()


def test_nothing_makes_no_rows_and_empty_documents_take_no_place() -> None:
    none = pack(np.zeros(0, np.int64), np.zeros(0, np.uint64), 8, seed=0)
    assert none.rows == 0
    packing = pack(np.array([0, 8, 0, 3]), np.arange(4, dtype=np.uint64), 8, seed=0)
    assert sorted(packing.document.tolist()) == [1, 3]


def test_mix64_is_the_published_splitmix64() -> None:
    golden = 0x9E3779B97F4A7C15
    assert mix64(np.array([golden], np.uint64), 0).tolist() == [0xE220A8397B1DCDAF]
