"""Which rejected samples and which duplicates are shown, and their texts.

The choice is by a seeded hash of ids, part by part: verdicts are read in whole, texts only of
parts that hold something chosen.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.schema import show_id
from filters.texts import body
from flows.page.batches import DUPLICATES, Batch
from flows.page.stored import Stored

EXAMPLES = 10
"""Of each reason."""
PARTS = 10
"""Parts that are searched for examples of one reason."""
CLUSTERS = 10
MEMBERS = 5
"""Rejected members shown of a cluster, beside the one that stayed."""
SHOWN = 700
"""Characters of a text."""

Hashes = npt.NDArray[np.uint64]
Key = tuple[str, str, str]
"""Stage (as in the funnel), filter and reason."""


@dataclass(frozen=True)
class Cluster:
    filter: str
    kept: int
    size: int
    members: tuple[tuple[int, float | None], ...]
    """Ids of samples that fell, and how like the nearest other one they are."""


@dataclass
class Chosen:
    reasons: dict[Key, list[int]]
    clusters: list[Cluster]
    shown: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What is told of each chosen sample; nothing of one that lies in another build."""


class Choice:
    """Ten samples of each reason, the largest groups of duplicates, and what they say."""

    def __init__(self, build: Stored) -> None:
        self._build = build
        self._counted: list[pl.DataFrame] = []
        self._best: list[pl.DataFrame] = []
        self._largest = pl.DataFrame(schema=_GROUPS)
        self._members = pl.DataFrame(schema=_MEMBERS)

    def add(self, batch: Batch) -> None:
        stages = [pl.col("filter"), *map(pl.lit, self._build.labels)]
        tables = zip(stages, (batch.refused, *batch.verdicts), strict=True)
        verdicts = pl.concat([rows.with_columns(stage=stage) for stage, rows in tables])
        ranks = pl.Series("rank", _mix(verdicts["id"].to_numpy(), self._build.seed))
        rows = verdicts.with_columns(ranks, pl.col("stage", "filter", "reason").fill_null(""))
        keys = ["stage", "filter", "reason", "part"]
        self._counted.append(rows.group_by(keys).len())
        lowest = rows.drop("figures").sort("rank", "id").group_by(keys).head(EXAMPLES)
        self._best.append(lowest)
        groups = rows.filter(pl.col("filter").is_in(DUPLICATES))
        if len(groups):
            self._largest, self._members = _largest(groups, self._largest, self._members)

    def chosen(self) -> Chosen:
        chosen = Chosen(
            _reasons(self._build, self._counted, self._best),
            _clusters(self._largest, self._members),
        )
        if not chosen.reasons:
            return chosen
        ids = {id for of_reason in chosen.reasons.values() for id in of_reason}
        wanted = pl.Series(sorted(ids), dtype=pl.UInt64).implode()
        best = (table.filter(pl.col("id").is_in(wanted)) for table in self._best)
        at = {id: part for table in best for id, part in table.select("id", "part").iter_rows()}
        at |= dict(self._members.select("id", "part").iter_rows())
        kept = {cluster.kept for cluster in chosen.clusters}
        at |= self._build.places(kept - set(at))
        shown = ids | kept | {id for cluster in chosen.clusters for id, _ in cluster.members}
        chosen.shown = _read(self._build, {id: part for id, part in at.items() if id in shown})
        return chosen


_GROUPS = {"filter": pl.String, "kept": pl.UInt64, "size": pl.Int64}
_MEMBERS = {**_GROUPS, "id": pl.UInt64, "part": pl.UInt32, "similarity": pl.Float64}


def _mix(ids: Hashes, seed: int) -> Hashes:
    """A fixed hash of ids and seed (the finalizer of SplitMix64)."""
    value = ids ^ np.uint64((seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) % 2**64)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _largest(
    rows: pl.DataFrame, largest: pl.DataFrame, members: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The largest groups so far and their members. A group's whole size stands in each of its
    verdicts, so one that falls out of the largest never comes back."""
    wanted = pl.Struct({"kept": pl.String, "size": pl.Int64, "similarity": pl.Float64})
    found = rows.with_columns(pl.col("figures").str.json_decode(wanted)).unnest("figures")
    found = found.with_columns(pl.col("kept").str.to_integer(base=16, dtype=pl.UInt64))
    largest = (
        pl.concat([largest, found.select(_GROUPS.keys())])
        .unique()
        .sort("size", "kept", descending=[True, False])
        .head(CLUSTERS)
    )
    members = (
        pl.concat([members, found.select(_MEMBERS.keys())])
        .join(largest, on=["filter", "kept"], how="semi")
        .sort("id")
        .group_by("filter", "kept", maintain_order=True)
        .head(MEMBERS)
    )
    return largest, members.select(_MEMBERS.keys())


def _clusters(largest: pl.DataFrame, members: pl.DataFrame) -> list[Cluster]:
    made = []
    for name, kept, size in largest.iter_rows():
        of = members.filter((pl.col("filter") == name) & (pl.col("kept") == kept)).sort("id")
        made.append(Cluster(name, kept, size, tuple(of.select("id", "similarity").iter_rows())))
    return made


def _reasons(
    build: Stored, counted: list[pl.DataFrame], best: list[pl.DataFrame]
) -> dict[Key, list[int]]:
    """The ids shown of each reason, from as few parts as will do: rare reasons choose first."""
    if not counted:
        return {}
    found: dict[Key, dict[int, int]] = {}
    for stage, name, reason, part, rows in pl.concat(counted).iter_rows():
        found.setdefault((stage, name, reason), {})[part] = rows
    numbers = np.arange(len(build.parts), dtype=np.uint64)
    order = _mix(numbers, build.seed).tolist()
    opened: set[int] = set()
    searched: dict[Key, list[int]] = {}
    for key in sorted(found, key=lambda key: (len(found[key]), key)):
        here = sorted(found[key], key=lambda part: (part not in opened, order[part]))
        have = 0
        for part in here[:PARTS]:
            searched.setdefault(key, []).append(part)
            opened.add(part)
            have += found[key][part]
            if have >= EXAMPLES:
                break
    table = pl.concat(best).sort("rank", "id")
    chosen: dict[Key, list[int]] = {}
    for (stage, name, reason), rows in table.group_by(
        "stage", "filter", "reason", maintain_order=True
    ):
        key = (str(stage), str(name), str(reason))
        near = rows.filter(pl.col("part").is_in(searched[key])).head(EXAMPLES)
        chosen[key] = near["id"].to_list()
    return chosen


def _read(build: Stored, at: dict[int, int]) -> dict[int, dict[str, Any]]:
    """What is shown of each sample: where it is from, its text, and the figures of its verdict."""
    parts = sorted({*at.values()})
    if not parts:
        return {}
    wanted = pl.col("id").is_in(pl.Series(sorted(at), dtype=pl.UInt64).implode())
    columns = ["id", "source", "tag", "topic", "tokens", "text", "messages"]
    rows = build.samples(parts, columns, wanted)
    texts = body(rows)
    rows = rows.select("id", "part", "source", "tag", "tokens", pl.col("topic").str.slice(0, 120))
    rows = rows.with_columns(
        text=texts.str.slice(0, SHOWN), left=texts.str.len_chars().cast(pl.Int64) - SHOWN
    )
    columns = ["id", "figures"]
    said = [build.refused(parts, columns, wanted)]
    said += [build.of_step(n, "part", parts, columns, wanted) for n in range(len(build.steps))]
    rows = rows.join(pl.concat(said), on=["id", "part"], how="left", maintain_order="left")
    return {
        row["id"]: row | {"id": show_id(row["id"])}
        for row in rows.iter_rows(named=True)
        if row.pop("part") == at[row["id"]]
    }
