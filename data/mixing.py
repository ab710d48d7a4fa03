"""Which documents an output holds, how often, and on which side of the validation split."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.errors import ShardmillError
from data.packing import mix64

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Documents:
    """Tokenized documents as columns: where each lies (`row` of `part`, its first token `start`
    in the part's ids), and what it is. `whole` ones are conversations, never split; `key`
    orders documents of equal length: the id, or a hash of it for a further copy."""

    part: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    start: Ints
    length: npt.NDArray[np.int32]
    id: Ids
    source: npt.NDArray[np.uint8]
    whole: npt.NDArray[np.bool_]
    key: Ids

    def take(self, rows: npt.NDArray[np.generic]) -> "Documents":
        return Documents(*(getattr(self, column.name)[rows] for column in fields(self)))

    @property
    def tokens(self) -> int:
        return int(self.length.sum(dtype=np.int64))


@dataclass(frozen=True)
class Amount:
    """How much of a source an output takes, in training tokens: `value` times what there is
    (repeat), that many tokens, or that share of the output's tokens.

    Tokens and shares take a document at most `max_repeat` times on average. What cannot be
    had is an error, or, with `cap`, left out.
    """

    unit: Literal["repeat", "tokens", "share"] = "repeat"
    value: float = 1.0
    max_repeat: float = 1.0
    cap: bool = False


def split(
    documents: Documents, validation: float, seed: int, groups: Ids | None = None
) -> dict[str, Documents]:
    """By a hash of the document's id, so that a document keeps its split as others come and
    go; `groups` gives near-duplicates one number, and the split goes by that. A group with more
    than the share of all documents trains, since it would take the place of all others. At least
    one group validates where any share is asked for and two exist."""
    if validation <= 0:
        return {"train": documents}
    named = documents.id if groups is None else groups
    hashed = mix64(named, seed ^ 0x5A11DA7E)
    held_out = hashed < np.uint64(max(0, int(validation * 2.0**64) - 1))
    if groups is not None:
        _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        held_out &= sizes[group] <= max(1.0, validation * len(groups))
    if not held_out.any() and len(hashed) and (named != named[0]).any():
        held_out = named == named[np.argmin(hashed)]
    return {
        "train": documents.take(np.flatnonzero(~held_out)),
        "validation": documents.take(np.flatnonzero(held_out)),
    }


def plan_mix(available: Mapping[str, int], amounts: Mapping[str, Amount]) -> dict[str, float]:
    """Training tokens that each source gives, from those it has.

    Shares stand beside sources of fixed size: those are then what is left of 1. Of shares alone
    the output is as large as they allow. Raises ShardmillError naming every source that lacks
    tokens.
    """
    lacking: list[str] = []
    wanted: dict[str, float] = {}

    def take(source: str, tokens: float) -> None:
        amount = amounts[source]
        there = available[source] * amount.max_repeat
        if tokens > there * (1 + 1e-9) and not amount.cap:
            lacking.append(
                f"{source} has {there:,.0f} of {tokens:,.0f} tokens ({tokens - there:,.0f} missing)"
            )
        wanted[source] = min(tokens, there)

    shares = {name: a.value for name, a in amounts.items() if a.unit == "share"}
    for source, amount in amounts.items():
        if amount.unit == "repeat":
            wanted[source] = amount.value * available[source]
        elif amount.unit == "tokens":
            take(source, amount.value)
    fixed = sum(wanted.values())
    if shares and len(shares) < len(amounts):
        total = fixed / (1 - sum(shares.values()))
    else:
        total = min(
            (
                available[name] * amounts[name].max_repeat / share
                for name, share in shares.items()
                if share > 0 and (available[name] or not amounts[name].cap)
            ),
            default=0.0,
        )
        lacking += [
            f"{name} has no tokens"
            for name, share in shares.items()
            if share > 0 and not available[name] and not amounts[name].cap
        ]
    for source, share in shares.items():
        take(source, share * total)
    if lacking:
        raise ShardmillError(
            f"the mix cannot be met: {'; '.join(lacking)}",
            fix="add samples, ask for less, allow repeats with max_repeat, or cap it (cap: true)",
        )
    return {source: wanted[source] for source in amounts}


def repeat(
    documents: Documents, wanted: Mapping[int, float], seed: int, *, once: bool = False
) -> Documents:
    """Documents of each source (a number) until its wanted tokens are reached: all of them as
    often as that takes, and for the rest a part in an order drawn from the seed. With `once`
    none is there twice."""
    copies = np.zeros(len(documents.id), np.int64)
    for number, tokens in wanted.items():
        mine = np.flatnonzero(documents.source == number)
        there = int(documents.length[mine].sum(dtype=np.int64))
        if not there:
            continue
        times, rest = divmod(tokens, there)
        copies[mine] = int(times)
        if rest > 1e-6 * there:
            ids = documents.id[mine]
            mine = mine[np.lexsort((ids, mix64(ids, seed ^ 0x2E9EA7)))]
            length = documents.length[mine].astype(np.int64)
            before = np.cumsum(length) - length
            copies[mine[before < rest - 1e-6 * there]] += 1
    if once:
        copies = np.minimum(copies, 1)
    chosen = np.repeat(np.arange(len(copies)), copies)
    ends = np.cumsum(copies)
    copy = np.arange(len(chosen)) - np.repeat(ends - copies, copies)
    taken = documents.take(chosen)
    again = copy > 0
    key = taken.id.copy()
    with np.errstate(over="ignore"):
        other = key[again] + copy[again].astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)
    key[again] = mix64(other, seed ^ 0xC0B1E5)
    return replace(taken, key=key)
