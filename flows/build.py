"""The build: seeds > prompts > completions > samples > curate > tokenize > pack."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from polars import DataFrame
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from data.errors import DamagedPart, ShardmillError
from data.parts import drop
from data.places import shown
from data.store import is_mended
from flows.artifacts import publish_cost, publish_funnel, publish_summary
from flows.corpora import read_corpus
from flows.curation import curate
from flows.diversity import warn_of_collapse
from flows.estimates import estimate, store
from flows.flow_runs import SETTINGS, documented, run_flow, run_name
from flows.generation import Generation
from flows.outputs import leftovers, pack, shortfalls, tokenize
from flows.page import write_page
from flows.plan import Plan
from flows.progress import Progress
from flows.prompting import prompt_losses, render_prompts
from flows.report import write_report
from flows.samples import parse_samples
from flows.seeds import read_seeds
from flows.stages import Runner, Work, run_parts
from flows.storing import store_build

R = TypeVar("R")
REBUILDS = 20


def run_sources(plan: Plan, progress: Progress, run: Runner = run_parts) -> None:
    """Everything up to samples, level by level."""
    recipe = plan.recipe
    for corpus in plan.read:
        read_corpus(corpus, recipe.part_rows, run)
    with Generation(plan, progress) as generation:
        for level in plan.levels:
            for source in level:
                read_seeds(source, run)
                render_prompts(source, recipe.seed, recipe.part_rows, run)
                for line in prompt_losses(source):
                    progress.say(line)
            generation.complete(level)
            for source in level:
                parse_samples(source, plan, run)
                for line in warn_of_collapse(source):
                    progress.say(line)


def run_outputs(plan: Plan, progress: Progress, run: Runner = run_parts) -> DataFrame:
    """Kept samples to shards, and the funnel."""
    for target in plan.targets:
        tokenize(plan, target, progress.say, run)
        pack(plan, target, run, progress.within)
        for line in shortfalls(target):
            progress.say(line)
    for folder in leftovers(plan):
        progress.say(f"{folder} is of an output that the recipe no longer names; it stays")
    return write_report(plan)


def run_stages(plan: Plan, progress: Progress, run: Runner = run_parts) -> DataFrame:
    """Whatever of the plan is not done, and the funnel."""
    store(plan.out / "estimate.json", estimate(plan))
    store_build(plan)
    run = progress.watching(run)

    def stages() -> DataFrame:
        run_sources(plan, progress, run)
        curate(plan, run)
        return run_outputs(plan, progress, run)

    return mending(progress, stages)


def mending(progress: Progress, stages: Callable[[], R]) -> R:
    """Run the stages; a damaged part that one of them meets is made again."""
    for _ in range(REBUILDS):
        try:
            return stages()
        except DamagedPart as damaged:
            if is_mended(damaged.path):
                progress.say(f"{damaged.path} was damaged and is fetched again")
                continue
            progress.say(f"{shown(damaged.path)} is damaged and is made again")
            drop(damaged)
    return stages()


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


@flow(name="build", flow_run_name=run_name, **SETTINGS)
@documented
def build(
    recipe: str = "demo",
    out: str | None = None,
    overrides: list[str] | None = None,
    scale: float = 1.0,
    offline: bool = False,
) -> State[None] | None:
    """Build a recipe's shards."""

    def work(plan: Plan, progress: Progress) -> None:
        table = run_stages(plan, progress, run_tasks)
        page = write_page(plan.out)
        publish_funnel(plan, table)
        publish_cost(plan)
        publish_summary(plan, table)
        get_run_logger().info("report: %s", page.resolve().as_uri())
        for target in plan.targets:
            get_run_logger().info("shards in %s", shown(target.shards.folder))

    return run_flow(recipe, out, overrides, scale, offline, work)
