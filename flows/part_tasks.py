"""A stage's parts as Prefect tasks: in this process's threads, or on a Ray cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from data.errors import RecipeError, ShardmillError
from flows.plan import Plan
from flows.progress import Progress
from flows.stages import Runner, Work

Place = Literal["threads", "ray"]
"""Where parts of curate, tokenize and pack are made; those of sources are made here."""


@task(task_run_name="{stage}-{index}", cache_policy=NO_CACHE, persist_result=False)
def make_part(stage: str, index: int, work: Work) -> ShardmillError | None:
    """One part. An error of ours is handed back, so that one line is logged and no trace."""
    try:
        work(index)
    except ShardmillError as error:
        return error
    return None


def run_tasks(stage: str, work: Work, indices: Sequence[int]) -> None:
    """Parts as Prefect tasks, side by side."""
    futures = [make_part.submit(stage, index, work) for index in indices]
    errors = [future.result() for future in futures]
    for error in errors:
        if error is not None:
            raise error


@contextmanager
def runner_at(
    place: Place, address: str | None, plan: Plan, progress: Progress
) -> Iterator[Runner]:
    """What makes the parts of curate, tokenize and pack while this lasts."""
    if place == "threads":
        yield run_tasks
        return
    if plan.leases:
        raise RecipeError("a build on Ray shares with no other", fix="leave out share or runner")
    from flows.on_ray import cluster  # an extra, and a second of work

    with cluster(address, plan.out, make_part, progress.say) as run:
        yield run
