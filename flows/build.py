"""The build: seeds > prompts > completions > samples > curate > tokenize > pack."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from polars import DataFrame
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import deployment
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from data.errors import DamagedPart, ShardmillError
from data.parts import drop, lock
from flows.corpora import read_corpus
from flows.curation import curate
from flows.diversity import warn_of_collapse
from flows.estimates import estimate, store
from flows.generation import Generation
from flows.outputs import leftovers, pack, shortfalls, tokenize
from flows.page import write_page
from flows.plan import Plan, plan_build
from flows.progress import Progress
from flows.prompting import prompt_losses, render_prompts
from flows.report import account, told, write_report
from flows.samples import parse_samples
from flows.seeds import read_seeds
from flows.stages import Runner, Work, run_parts
from flows.storing import store_build

THREADS = 4
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


def run_stages(plan: Plan, progress: Progress, run: Runner = run_parts) -> DataFrame:
    """Whatever of the plan is not done, and the funnel. A damaged part is made again."""
    store(plan.out / "estimate.json", estimate(plan))
    store_build(plan)
    rebuild = 0
    while True:
        try:
            run_sources(plan, progress, run)
            curate(plan, run)
            for target in plan.targets:
                tokenize(plan, target, progress.say, run)
                pack(plan, target, run)
                for line in shortfalls(target):
                    progress.say(line)
            for folder in leftovers(plan):
                progress.say(f"{folder} is of an output that the recipe no longer names; it stays")
            return write_report(plan)
        except DamagedPart as damaged:
            if rebuild == REBUILDS:
                raise
            rebuild += 1
            progress.say(f"{damaged.path} is damaged and is made again")
            drop(damaged)


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


@flow(
    name="build",
    flow_run_name="{recipe}",
    task_runner=ThreadPoolTaskRunner(max_workers=THREADS),  # type: ignore[arg-type]
    persist_result=False,
    validate_parameters=True,
)
def build(
    recipe: str = "demo",
    out: str | None = None,
    overrides: list[str] | None = None,
    scale: float = 1.0,
    offline: bool = False,
) -> State[None] | None:
    """Build a recipe's shards.

    Args:
        recipe: A shipped recipe's name (`demo`) or the path of a YAML file.
        out: The folder that the build fills and resumes from; `runs/<name>` if left out.
        overrides: Changes to the recipe, such as `engine.sampling.temperature=0.6`.
        scale: Factor on every count of samples and rows and on every budget of tokens.
        offline: Read each corpus and hub set of seeds from its shipped sample.
    """
    logger = get_run_logger()
    try:
        plan = plan_build(recipe, out, overrides or [], scale, offline=offline)
        with lock(plan.out), _progress() as progress:
            table = run_stages(plan, progress, run_tasks)
            page = write_page(plan.out).resolve()
    except ShardmillError as error:
        logger.error("%s", error)
        return Failed(message=f"{type(error).__name__}: {error}", data=error)
    create_table_artifact(table.to_dicts(), key="funnel", description=f"Funnel of {recipe}")
    create_table_artifact(account(plan), key="account", description=f"Generation of {recipe}")
    create_markdown_artifact(
        told(plan, table, page), key="report", description=f"Build of {recipe}"
    )
    logger.info("report: %s", page.as_uri())
    for target in plan.targets:
        logger.info("shards in %s", target.shards.folder)
    return None


def _progress() -> Progress:
    """On the terminal for a run from the command line, in the log and as an artifact for a
    deployment's run."""
    if deployment.id is None:
        return Progress()
    logger = get_run_logger()
    artifact = cast(UUID, create_progress_artifact(0.0, key="progress", description="completions"))

    def sink(share: float, line: str) -> None:
        update_progress_artifact(artifact, share * 100)

    return Progress(sink=sink, log=logger.info)
