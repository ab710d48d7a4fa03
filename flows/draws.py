"""What each row of a source draws: knob values by exact counts, and the seed that goes with them.

Counts are exact at every row and not just at the last one: after n rows a value with share p was
drawn n * p times, rounded up or down. So raising `samples` adds rows and changes none.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from data.schema import make_id

Ints = npt.NDArray[np.int64]
ROUNDS = 2
DISTANCES = (1, 2, 3, 5, 8, 13, 21, 34)


@dataclass(frozen=True)
class Draw:
    """Knobs that are drawn together: `values[i]` holds one value for each, with `weights[i]` of
    their sum as its share."""

    knobs: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]
    weights: tuple[int, ...]


def sequence(draw: Draw, rows: int, *what: object) -> Ints:
    """The choice of each of the first `rows` rows; `what` makes it another order, not another
    count. Rows of a shorter sequence are a beginning of a longer one's."""
    key = np.uint64(make_id([*what, *draw.knobs]))
    choices = len(draw.weights)
    if choices == 1:
        return np.zeros(rows, np.int64)
    if len(set(draw.weights)) == 1:
        return _blocks(rows, choices, key)
    weights = np.array(draw.weights, np.int64)
    longest = int(weights.sum() // weights.min())
    distances = np.array([d for d in DISTANCES if d <= longest], np.int64)
    margin = 4 * ROUNDS * int(distances.sum())
    return _level(rows + margin, weights, distances, key)[:rows]


def _blocks(rows: int, choices: int, key: np.uint64) -> Ints:
    """Equal shares: each block of `choices` rows holds every choice once, in a seeded order."""
    numbers = np.arange(-(-rows // choices) * choices, dtype=np.uint64)
    return np.argsort(_hashes(numbers, key).reshape(-1, choices), axis=1).ravel()[:rows]


@numba.njit(cache=True, nogil=True)
def _hash(value: np.uint64, key: np.uint64) -> np.uint64:
    state = (value + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + key
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _hashes(values: npt.NDArray[np.uint64], key: np.uint64) -> npt.NDArray[np.uint64]:
    found = np.empty(len(values), np.uint64)
    for row in range(len(values)):
        found[row] = _hash(values[row], key)
    return found


@numba.njit(cache=True, nogil=True)
def _level(rows: int, weights: Ints, distances: Ints, key: np.uint64) -> Ints:
    """Unequal shares. The k-th row of a choice with share p may stand in the rows floor((k-1)/p)
    to ceil(k/p)-1, which is what keeps every count exact; earliest deadline first always finds
    places for all (Steiner and Yeomans 1993). Seeded swaps that keep every count exact then undo
    the regular order, which would go in step with that of other knobs."""
    total = weights.sum()
    counts = np.zeros(len(weights), np.int64)
    choice = np.empty(rows, np.int64)
    for row in range(rows):
        best, deadline = -1, np.int64(0)
        for i in range(len(weights)):
            if counts[i] * total // weights[i] <= row:
                due = -(-(counts[i] + 1) * total // weights[i]) - 1
                if best < 0 or due < deadline:
                    best, deadline = i, due
        choice[row] = best
        counts[best] += 1
    turn = np.uint64(0)
    for _ in range(ROUNDS):
        for distance in distances:
            for shift in (0, distance):
                turn += np.uint64(1)
                counts[:] = 0
                for row in range(rows - distance):
                    coin = _hash(np.uint64(row) ^ (turn << np.uint64(48)), key) & np.uint64(1)
                    if coin and ((row + shift) // distance) % 2 == 0:
                        _swap(choice, row, row + distance, counts, weights, total)
                    counts[choice[row]] += 1
    return choice


@numba.njit(cache=True, nogil=True)
def _swap(choice: Ints, row: int, other: int, counts: Ints, weights: Ints, total: int) -> None:
    """Swap the choices of two rows unless a count between them would be off; `counts` are those
    before `row`."""
    early, late = choice[row], choice[other]
    if early == late:
        return
    less, more = counts[early] - 1, counts[late] + 1
    for n in range(row, other):
        less += choice[n] == early
        more += choice[n] == late
        if less < (n + 1) * weights[early] // total or more > -(-(n + 1) * weights[late] // total):
            return
    choice[row], choice[other] = late, early


def deal(draws: list[Ints], rows: int, seeds: int, per_prompt: int) -> Ints:
    """The slot of each row: seed `slot % seeds` in its turn `slot // seeds`; -1 where all seeds
    were asked with the row's draws `per_prompt` times.

    A row takes the first slot that is free and whose seed has not met its draws, so every seed is
    used before one is used again, and no prompt is doubled while another is left.
    """
    if rows <= seeds:
        return np.arange(rows, dtype=np.int64)
    drawn = np.zeros(rows, np.int64)
    for choices in draws:
        _, drawn = np.unique(drawn * (choices.max() + 1) + choices, return_inverse=True)
    copies = _nth(drawn) // seeds
    slots = np.full(rows, -1, np.int64)
    live = np.flatnonzero(copies < per_prompt)
    _, groups = np.unique(drawn[live] * per_prompt + copies[live], return_inverse=True)
    slots[live] = _deal(groups.astype(np.int64), int(groups.max()) + 1, seeds)
    return slots


def _nth(groups: Ints) -> Ints:
    """How many rows of its group stand before each row."""
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    counts = np.diff(np.r_[starts, len(groups)])
    found = np.empty(len(groups), np.int64)
    found[order] = np.arange(len(groups)) - np.repeat(starts, counts)
    return found


@numba.njit(cache=True, nogil=True)
def _deal(groups: Ints, distinct: int, seeds: int) -> Ints:
    """No group has more than `seeds` rows. Slots that a group has passed are of no use to it
    ever, so each is looked at once a group. `met` is a hash set of (seed, group)."""
    slots = np.empty(len(groups), np.int64)
    taken = np.zeros(2 * len(groups) + seeds, np.bool_)
    begin = np.zeros(distinct, np.int64)
    size = 16
    while size < 2 * len(groups):
        size *= 2
    met = np.full(size, -1, np.int64)
    free = 0
    for row in range(len(groups)):
        group = groups[row]
        while free < len(taken) and taken[free]:
            free += 1
        slot = max(begin[group], free)
        while True:
            if slot >= len(taken):
                taken = np.concatenate((taken, np.zeros(len(taken), np.bool_)))
            if not taken[slot]:
                meeting = (slot % seeds) * distinct + group
                at = np.int64(_hash(np.uint64(meeting), np.uint64(0)) & np.uint64(size - 1))
                while met[at] >= 0 and met[at] != meeting:
                    at = (at + 1) & (size - 1)
                if met[at] < 0:
                    met[at] = meeting
                    break
            slot += 1
        taken[slot] = True
        begin[group] = slot + 1
        slots[row] = slot
    return slots
