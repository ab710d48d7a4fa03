"""A third of a build each, for runs on different machines over one OUT: what generates wants a
GPU, the rest does not. Each reuses what is done and refuses where what it reads is not there."""

from collections.abc import Iterable

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from data.errors import ShardmillError
from data.parts import Stage, write_if_changed
from flows.artifacts import publish_cost, publish_funnel, publish_summary
from flows.build import mending, run_outputs, run_sources
from flows.curation import curate as run_filters
from flows.flow_runs import SETTINGS, documented, run_flow, run_name
from flows.page import write_page
from flows.part_tasks import Place, run_tasks, runner_at
from flows.plan import Plan
from flows.progress import Progress
from flows.report import funnel
from flows.sharing import watched
from flows.storing import store_build


@flow(name="generate", flow_run_name=run_name, **SETTINGS)
@documented
def generate(
    recipe: str = "demo",
    out: str | None = None,
    overrides: list[str] | None = None,
    scale: float = 1.0,
    offline: bool = False,
    share: bool = False,
) -> State[None] | None:
    """Seeds, prompts, completions and samples of a recipe, and what it reads of corpora."""

    def work(plan: Plan, progress: Progress) -> None:
        store_build(plan)
        run = watched(plan, progress, run_tasks)
        mending(progress, lambda: run_sources(plan, progress, run))
        publish_cost(plan)

    return run_flow(recipe, out, overrides, scale, offline, share, work)


@flow(name="curate", flow_run_name=run_name, **SETTINGS)
@documented
def curate(
    recipe: str = "demo",
    out: str | None = None,
    overrides: list[str] | None = None,
    scale: float = 1.0,
    offline: bool = False,
    share: bool = False,
    runner: Place = "threads",
    ray_address: str | None = None,
) -> State[None] | None:
    """The filters of a recipe over its samples, and the funnel."""

    def work(plan: Plan, progress: Progress) -> None:
        store_build(plan)

        def stages() -> None:
            need(plan, (source.samples for source in plan.sources), "generate")
            run_filters(plan, watched(plan, progress, run))
            table = funnel(plan)
            write_if_changed(plan.out / "funnel.csv", table.write_csv().encode())
            publish_funnel(plan, table)

        with runner_at(runner, ray_address, plan, progress) as run:
            mending(progress, stages)

    return run_flow(recipe, out, overrides, scale, offline, share, work)


@flow(name="pack", flow_run_name=run_name, **SETTINGS)
@documented
def pack(
    recipe: str = "demo",
    out: str | None = None,
    overrides: list[str] | None = None,
    scale: float = 1.0,
    offline: bool = False,
    share: bool = False,
    runner: Place = "threads",
    ray_address: str | None = None,
) -> State[None] | None:
    """The kept samples of a recipe as tokens and packed shards."""

    def work(plan: Plan, progress: Progress) -> None:
        store_build(plan)

        def stages() -> None:
            need(plan, (source.samples for source in plan.sources), "generate")
            need(plan, (step.verdicts for step in plan.steps), "curate")
            table = run_outputs(plan, progress, watched(plan, progress, run))
            page = write_page(plan.out)
            publish_summary(plan, table)
            get_run_logger().info("report: %s", page.resolve().as_uri())

        with runner_at(runner, ray_address, plan, progress) as run:
            mending(progress, stages)

    return run_flow(recipe, out, overrides, scale, offline, share, work)


def need(plan: Plan, stages: Iterable[Stage], flow_name: str) -> None:
    """Raises ShardmillError where a stage that has to be read is not done."""
    missing = [stage.name for stage in stages if not stage.done]
    if missing:
        raise ShardmillError(
            f"{', '.join(missing)} not there yet",
            where=str(plan.out),
            fix=f"run the flow {flow_name} with the same parameters first",
        )
