"""The build: seeds > prompts > completions > samples > curate > tokenize > pack."""

from collections.abc import Callable
from typing import TypeVar

from polars import DataFrame
from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from data.errors import DamagedPart
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
from flows.lookup import index_build
from flows.outputs import leftovers, pack, shortfalls, tokenize
from flows.page import write_page
from flows.part_tasks import Place, run_tasks, runner_at
from flows.plan import Plan
from flows.progress import Progress
from flows.prompting import prompt_losses, render_prompts
from flows.report import write_report
from flows.samples import parse_samples
from flows.seeds import read_seeds
from flows.sharing import divided, watched
from flows.stages import Missing, Runner, run_parts
from flows.storing import store_build

R = TypeVar("R")
REBUILDS = 20


def run_sources(plan: Plan, progress: Progress, run: Runner = run_parts) -> None:
    """Everything up to samples, level by level."""
    recipe = plan.recipe
    read_corpora(plan, progress.say, run)
    with Generation(plan, progress) as generation:
        for level in plan.levels:
            for source in level:
                said = read_seeds(source, run)
                render_prompts(source, recipe.seed, recipe.part_rows, run)
                for line in (*said, *prompt_losses(source)):
                    progress.say(line)
            generation.complete(level)
            for source in level:
                parse_samples(source, plan, run)
                for line in warn_of_collapse(source):
                    progress.say(line)


def read_corpora(plan: Plan, say: Callable[[str], None], run: Runner) -> None:
    """Each corpus is one stream, so that one build reads it where several share the work."""

    def read(number: int) -> None:
        for line in read_corpus(plan.read[number], plan.recipe.part_rows, run):
            say(line)

    corpora = Missing(range(len(plan.read)), lambda number: plan.read[number].samples.done)
    divided(plan, say, run_parts)("corpora", read, corpora)


def run_outputs(plan: Plan, progress: Progress, run: Runner = run_parts) -> DataFrame:
    """Kept samples to shards, and the funnel."""
    for target in plan.targets:
        tokenize(plan, target, progress.say, run)
        pack(plan, target, run, progress.within)
        for line in shortfalls(target):
            progress.say(line)
    for folder in leftovers(plan):
        progress.say(f"{folder} is of an output that the recipe no longer names; it stays")
    index_build(plan.out, plan.recipe.name)
    return write_report(plan)


def run_stages(
    plan: Plan, progress: Progress, run: Runner = run_parts, far: Runner | None = None
) -> DataFrame:
    """Whatever of the plan is not done, and the funnel; `far` makes what comes after samples."""
    store(plan.out / "estimate.json", estimate(plan))
    store_build(plan)
    far = watched(plan, progress, far or run)
    run = watched(plan, progress, run)

    def stages() -> DataFrame:
        run_sources(plan, progress, run)
        curate(plan, far)
        return run_outputs(plan, progress, far)

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


@flow(name="build", flow_run_name=run_name, **SETTINGS)
@documented
def build(
    recipe: str = "demo",
    out: str | None = None,
    overrides: list[str] | None = None,
    scale: float = 1.0,
    offline: bool = False,
    share: bool = False,
    runner: Place = "threads",
    ray_address: str | None = None,
) -> State[None] | None:
    """Build a recipe's shards."""

    def work(plan: Plan, progress: Progress) -> None:
        with runner_at(runner, ray_address, plan, progress) as far:
            table = run_stages(plan, progress, run_tasks, far)
        page = write_page(plan.out)
        publish_funnel(plan, table)
        publish_cost(plan)
        publish_summary(plan, table)
        get_run_logger().info("report: %s", page.resolve().as_uri())
        for target in plan.targets:
            get_run_logger().info("shards in %s", shown(target.shards.folder))

    return run_flow(recipe, out, overrides, scale, offline, share, work)
