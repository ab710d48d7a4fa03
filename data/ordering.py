"""The order of many keys, bucket by bucket: half the time of one argsort of them all."""

from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


def order_of(keys: Keys) -> Ints:
    """The same as a stable argsort of hashes, which fill the buckets alike; other keys take
    longer and come out right too."""
    found, order, starts = _buckets(keys)
    for start, end in pairwise(starts.tolist()):
        if end - start > 1:
            here = np.argsort(found[start:end])
            order[start:end] = order[start:end][here]
            found[start:end] = found[start:end][here]
    if (found[1:] == found[:-1]).any():  # then only a stable order is the same everywhere
        return np.argsort(keys, kind="stable")
    return order


@numba.njit(cache=True, nogil=True)
def _buckets(keys: Keys) -> tuple[Keys, Ints, Ints]:
    """Keys by their first ten bits, the place of each, and where each bucket starts."""
    shift = np.uint64(54)
    starts = np.zeros(1025, np.int64)
    for key in keys:
        starts[np.int64(key >> shift) + 1] += 1
    for number in range(1024):
        starts[number + 1] += starts[number]
    free = starts.copy()
    found = np.empty(len(keys), np.uint64)
    order = np.empty(len(keys), np.int64)
    for place in range(len(keys)):
        bucket = np.int64(keys[place] >> shift)
        at = free[bucket]
        free[bucket] = at + 1
        found[at], order[at] = keys[place], place
    return found, order, starts
