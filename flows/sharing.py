"""One build among several over one OUT: each part is made by whichever leases it first."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from data import places
from data.errors import RecipeError
from data.leases import POLL, Leases, shown
from data.schema import fingerprint
from data.store import mirror_of
from data.turns import shared
from flows.plan import Plan
from flows.progress import Progress
from flows.stages import Missing, Runner, Work

PATIENCE = 10.0
"""Seconds of waiting for others' parts after which that is told."""


@contextmanager
def joined(plan: Plan) -> Iterator[Plan]:
    """The plan with leases, for a build beside others. Raises RecipeError where OUT has none."""
    if mirror_of(plan.out) is not None:
        raise RecipeError(
            "builds cannot share an address in a bucket",
            where=places.shown(plan.out),
            fix="share a folder that all machines see, or leave out --share",
        )
    stages = [stage.hash for source in plan.sources for stage in source.stages]
    stages += [step.verdicts.hash for step in plan.steps]
    stages += [target.shards.hash for target in plan.targets]
    with Leases(plan.out, fingerprint(stages)) as leases, shared(leases.turn):
        yield replace(plan, leases=leases)


def watched(plan: Plan, progress: Progress, run: Runner) -> Runner:
    """The runner with its progress in sight, and the plan's parts divided."""
    return progress.watching(divided(plan, progress.say, run))


def divided(plan: Plan, say: Callable[[str], None], run: Runner) -> Runner:
    """The runner where the build is alone; otherwise as `sharing` has it."""
    return sharing(run, plan.leases, say) if plan.leases else run


def sharing(run: Runner, leases: Leases, say: Callable[[str], None]) -> Runner:
    """The runner for the parts that no other build makes; it ends when all are there."""

    def share(name: str, work: Work, indices: Sequence[int]) -> None:
        if not isinstance(indices, Missing):
            raise TypeError(f"{name}: nothing tells when a part is there")
        there, tried = indices.there, set[int]()

        def unless_taken(index: int) -> None:
            lease = f"{name}-{index}"
            if there(index) or not leases.claim(lease):
                return
            try:
                if not there(index):  # it was made before the lease was free
                    work(index)
                tried.add(index)
            finally:
                leases.release(lease)

        left: list[int] = indices
        waiting = Waiting(name, leases, say)
        while left:
            run(name, unless_taken, left)
            left = [index for index in Missing(left, there) if index not in tried]
            if left:
                waiting.tell(len(left))
                time.sleep(POLL)

    return share


class Waiting:
    """Tells once in a while what is waited for."""

    def __init__(self, stage: str, leases: Leases, say: Callable[[str], None]) -> None:
        self._stage, self._leases, self._say = stage, leases, say
        self._last = time.monotonic()

    def tell(self, parts: int) -> None:
        now = time.monotonic()
        if now - self._last < PATIENCE:
            return
        self._last = now
        others = ", ".join(map(shown, self._leases.others())) or "a build that ended"
        count = "a part" if parts == 1 else f"{parts:,} parts"
        self._say(f"{self._stage}: waiting for {count} of {others}")
