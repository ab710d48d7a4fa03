"""The exchange of near-duplicate keys between machines, simulated at a billion documents.

    python benchmarks/dedup_exchange.py [--documents 1000000000] [--nodes 32] [--text FILE]

What a small corpus shows is measured first: how large clusters are, how often two documents that
are alike share the key of a band, how many pairs of one key are alike after all. From these
statistics the keys of one band are drawn as each machine would receive them, a range of keys at a
time, and paired by the filter's own code; then all pairs that hold are joined by its own
union-find. Counted are bytes sent, bytes held and seconds; one band's ranges stand for all bands'.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.made_texts import corpus, words_of  # noqa: E402
from filters.duplicates import join_pairs  # noqa: E402
from filters.near_duplicate import NearDuplicate, _candidates  # noqa: E402

KEY = 8 + 8
"""Bytes that a document sends for a band: the key and its number."""
PAIR = 8
HELD = 41
"""Bytes a key while a range is paired: keys, their order and marks."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Statistics:
    """`sizes`: documents of each cluster that was found. `shared`: share of bands in which a
    document of a cluster has its head's key. `idle`: pairs of a key that are not alike, a
    document and band."""

    documents: int
    bands: int
    sizes: Ints
    shared: float
    idle: float

    @property
    def share(self) -> float:
        return float(self.sizes.sum() / self.documents)


class Held:
    """A corpus in memory, as the filter reads it."""

    scratch = Path("/tmp")

    def __init__(self, judge: NearDuplicate, samples: pl.DataFrame) -> None:
        self._samples = samples
        self._sketch = judge.sketch(samples).with_columns(reference=pl.lit(False))

    def sketches(self, *columns: str) -> pl.DataFrame:
        return self._sketch.select(columns)

    def samples(self, rows: Ints) -> Any:
        ids = self._sketch[rows].select("id")
        yield self._samples.join(ids, on="id", how="semi", maintain_order="left")


def measure(texts: list[str]) -> Statistics:
    judge = NearDuplicate.model_validate({})
    blank = pl.lit(None, pl.String)
    samples = pl.DataFrame({"id": np.arange(len(texts), dtype=np.uint64), "text": texts})
    empty = pl.lit(None, pl.List(pl.Struct({"role": pl.String, "content": pl.String})))
    samples = samples.with_columns(messages=empty, tag=blank, source=blank)
    held = Held(judge, samples)
    clusters = judge.resolve(held).tables["clusters"]
    groups = clusters.group_by("cluster").agg("id").get_column("id").to_list()
    by_id = held.sketches("id", *(f"band_{band}" for band in range(judge.bands))).sort("id")
    keys = by_id.drop("id").to_numpy()
    place = {id: row for row, id in enumerate(by_id["id"].to_list())}
    together = [
        (keys[place[group[0]]] == keys[place[other]]).mean()
        for group in groups
        for other in group[1:]
    ]
    label = -1 - np.arange(len(keys))  # of those in no cluster, one of its own
    for number, group in enumerate(groups):
        label[[place[id] for id in group]] = number
    idle = 0
    for band in range(judge.bands):
        pairs = _candidates(np.ascontiguousarray(keys[:, band]))
        left, right = pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)
        idle += int((label[left.astype(np.int64)] != label[right.astype(np.int64)]).sum())
    return Statistics(
        len(texts),
        judge.bands,
        np.array([len(group) for group in groups], np.int64),
        float(np.mean(together)) if together else 0.0,
        idle / len(texts) / judge.bands,
    )


def received(known: Statistics, documents: int, draw: np.random.Generator) -> Any:
    """Keys of a range as one machine holds them, of so many documents."""
    alone = int(documents * (1 - known.share))
    sizes = draw.choice(known.sizes, max(1, int(documents * known.share / known.sizes.mean())))
    heads = draw.integers(0, 2**64, len(sizes), dtype=np.uint64)
    members = np.repeat(heads, sizes)
    apart = draw.random(len(members)) > known.shared
    members[apart] = draw.integers(0, 2**64, int(apart.sum()), dtype=np.uint64)
    keys = np.concatenate([draw.integers(0, 2**64, alone, dtype=np.uint64), members])
    draw.shuffle(keys)
    return keys


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=float, default=1e9)
    options.add_argument("--nodes", type=int, default=32)
    options.add_argument("--ranges", type=int, default=64, help="ranges of keys a band")
    options.add_argument("--run", type=int, default=8, help="of these, how many are run")
    options.add_argument("--sample", type=int, default=50_000, help="documents that are measured")
    options.add_argument("--text", type=Path, help="words of the measured documents")
    given = options.parse_args()
    documents, draw = int(given.documents), np.random.default_rng(0)
    made = corpus(words_of(given.text), given.sample)
    known = measure([text for text, _ in islice(made, given.sample)])
    print(
        f"measured on {known.documents:,}: {known.share:.1%} in {len(known.sizes):,} clusters of "
        f"{known.sizes.mean():.2f} (at most {known.sizes.max()}), a key of a band shared by "
        f"{known.shared:.0%} of the alike, {known.idle:.2g} idle pairs a document and band"
    )
    sent = documents * known.bands * KEY * (given.nodes - 1) / given.nodes
    print(
        f"{documents:,} documents on {given.nodes} machines: {documents * KEY / 1e9:,.0f} GB a "
        f"band, {sent / 1e9:,.0f} GB over the network, {sent / given.nodes / 1e9:,.1f} GB from each"
    )
    here = documents // given.ranges
    seconds, pairs = 0.0, 0
    for _ in range(given.run):
        keys = received(known, here, draw)
        start = time.process_time()
        pairs += len(_candidates(keys))
        seconds += time.process_time() - start
    a_band = seconds / given.run * given.ranges
    hours = a_band * known.bands / 3600
    print(
        f"a range of {here:,} keys: {seconds / given.run:.1f} CPU s, {here * HELD / 1e9:.2f} GB "
        f"held; a band {a_band:,.0f} CPU s, all bands {hours:,.1f} CPU hours, "
        f"{hours / given.nodes:,.2f} hours a machine of one core"
    )
    a_band = pairs / given.run * given.ranges
    print(
        f"pairs of one key: {a_band:,.0f} a band; of all bands {a_band * known.bands:,.0f}, "
        f"{a_band * known.bands * PAIR / 1e9:,.1f} GB before equal ones fall together"
    )
    join(known, documents, draw)


def join(known: Statistics, documents: int, draw: np.random.Generator) -> None:
    """All alike pairs of the corpus in one union-find: its members are numbered anew."""
    members = int(documents * known.share)
    sizes = draw.choice(known.sizes, max(1, int(members / known.sizes.mean())))
    members = int(sizes.sum())
    order = draw.permutation(members)
    heads = np.repeat(np.cumsum(sizes) - sizes, sizes)
    own = np.arange(members)
    joined = heads != own
    left, right = order[heads[joined]], order[own[joined]]
    join_pairs(2, left[:0], right[:0])
    start = time.process_time()
    groups = join_pairs(members, left, right)
    seconds = time.process_time() - start
    size = (groups.nbytes + left.nbytes + right.nbytes) / 1e9
    print(
        f"union-find of {len(left):,} pairs over {members:,} documents: {seconds:.0f} CPU s, "
        f"{size:.1f} GB; {len(np.unique(groups)):,} clusters of {len(sizes):,} drawn"
    )


if __name__ == "__main__":
    main()
