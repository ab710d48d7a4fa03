"""Which rejected samples and which duplicates are shown, and their texts.

The choice is by a seeded hash of ids, part by part: verdicts are read in whole, texts only of
parts that hold something chosen.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.schema import show_id
from filters.texts import body
from flows.page.lengths import places
from flows.page.stored import Stored

EXAMPLES = 10
"""Of each reason."""
AT_ONCE = 200
"""Parts of verdicts that are looked at together: one by one, polars would mostly start and stop."""
PARTS = 10
"""Parts that are searched for examples of one reason."""
CLUSTERS = 10
MEMBERS = 5
"""Rejected members shown of a cluster, beside the one that stayed."""
DUPLICATES = ("exact_duplicate", "near_duplicate")
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


def choose(build: Stored) -> Chosen:
    """Ten samples of each reason, the largest groups of duplicates, and what they say."""
    counted: list[pl.DataFrame] = []
    best: list[pl.DataFrame] = []
    largest = pl.DataFrame(schema=_GROUPS)
    members = pl.DataFrame(schema=_MEMBERS)
    for verdicts in _verdicts(build):
        ranks = pl.Series("rank", _mix(verdicts["id"].to_numpy(), build.seed))
        rows = verdicts.with_columns(ranks, reason=_text("reason"))
        keys = ["stage", "filter", "reason", "part"]
        counted.append(rows.group_by(keys).len())
        best.append(rows.sort("rank", "id").group_by(keys).head(EXAMPLES).drop("figures"))
        groups = rows.filter(pl.col("filter").is_in(DUPLICATES))
        if len(groups):
            largest, members = _largest(groups, largest, members)
    chosen = Chosen(_reasons(build, counted, best), _clusters(largest, members))
    if chosen.reasons:
        wanted = {id: part for table in best for id, part in table.select("id", "part").rows()}
        ids = {id for of_reason in chosen.reasons.values() for id in of_reason}
        at = {id: wanted[id] for id in ids}
        at |= dict(members.select("id", "part").iter_rows())
        kept = {cluster.kept for cluster in chosen.clusters} - set(at)
        at |= places(build, kept)
        shown = {cluster.kept for cluster in chosen.clusters} | ids
        shown |= {id for cluster in chosen.clusters for id, _ in cluster.members}
        chosen.shown = _read(build, {id: part for id, part in at.items() if id in shown})
    return chosen


_GROUPS = {"filter": pl.String, "kept": pl.UInt64, "size": pl.Int64}
_MEMBERS = {**_GROUPS, "id": pl.UInt64, "part": pl.Int64, "similarity": pl.Float64}


def _text(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).fill_null("")


def _verdicts(build: Stored) -> Iterator[pl.DataFrame]:
    """All verdicts with their `stage` and `part`, some parts at a time; the figures of filters
    for duplicates alone."""
    columns = ["id", "filter", "reason"]
    gathered: list[pl.DataFrame] = []
    for index in range(len(build.parts)):
        part = pl.lit(index, pl.Int64)
        refused = build.refused(index, columns)
        gathered.append(refused.with_columns(stage="filter", part=part))
        for number, step in enumerate(build.steps):
            wanted = [*columns, "figures"] if step["filter"] in DUPLICATES else columns
            rows = build.verdicts(number, index, wanted)
            gathered.append(rows.with_columns(stage=pl.lit(build.labels[number]), part=part))
        if len(gathered) >= AT_ONCE or index + 1 == len(build.parts):
            none = pl.DataFrame(schema={"figures": pl.String})
            yield pl.concat([none, *gathered], how="diagonal")
            gathered = []


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
    by_part: dict[int, list[int]] = {}
    for id, part in at.items():
        by_part.setdefault(part, []).append(id)
    shown: dict[int, dict[str, Any]] = {}
    for part, ids in sorted(by_part.items()):
        listed = pl.Series(sorted(ids), dtype=pl.UInt64).implode()
        wanted = pl.col("id").is_in(listed)
        columns = ["id", "source", "tag", "topic", "tokens", "text", "messages"]
        rows = build.samples(part, columns).filter(wanted)
        texts = body(rows)
        rows = rows.select("id", "source", "tag", "tokens", pl.col("topic").str.slice(0, 120))
        rows = rows.with_columns(
            text=texts.str.slice(0, SHOWN), left=texts.str.len_chars().cast(pl.Int64) - SHOWN
        )
        figures = [build.refused(part, ["id", "figures"])]
        figures += [build.verdicts(n, part, ["id", "figures"]) for n in range(len(build.steps))]
        said = dict(pl.concat([table.filter(wanted) for table in figures]).iter_rows())
        for row in rows.iter_rows(named=True):
            shown[row["id"]] = row | {"id": show_id(row["id"]), "figures": said.get(row["id"])}
    return shown
