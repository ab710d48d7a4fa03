"""What the flows share: their parameters, a run's name, its log and progress, how it ends."""

import inspect
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn, ParamSpec, TypedDict, TypeVar
from uuid import UUID

from prefect import get_client, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, TerminationSignal
from prefect.runtime import deployment, flow_run
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from data.errors import Interrupted, ShardmillError
from data.leases import lock
from data.schema import fingerprint
from flows.artifacts import stage_progress
from flows.loading import load_recipe
from flows.plan import Plan, plan_build
from flows.progress import Progress
from flows.sharing import joined

P = ParamSpec("P")
R = TypeVar("R")
THREADS = 4
PARAMETERS = """

Args:
    recipe: A shipped recipe's name (`demo`) or the path of a YAML file, as the worker sees it.
    out: The folder that the build fills and resumes from; `runs/<name>` if left out. Relative
        paths are below the project's folder on the worker's machine.
    overrides: Changes to the recipe, a list such as `["engine.sampling.temperature=0.6"]`.
    scale: Factor on every count of samples and rows and on every budget of tokens; 0.01 tries
        a recipe out.
    offline: Read each corpus and hub set of seeds from its shipped sample.
    share: Let other runs with the same parameters, on this or other machines that see the folder,
        make parts of the same build; none is made twice.
"""
RUNNER = """    runner: `threads`, or `ray` to curate, tokenize and pack on a Ray cluster.
    ray_address: The cluster, as HOST:PORT or ray://HOST:PORT; if left out the worker's
        RAY_ADDRESS, or a cluster of its machine for the time of the run.
"""


class Settings(TypedDict):
    task_runner: Any
    persist_result: bool
    validate_parameters: bool


SETTINGS: Settings = {
    "task_runner": ThreadPoolTaskRunner(max_workers=THREADS),
    "persist_result": False,
    "validate_parameters": True,
}


def documented(function: Callable[P, R]) -> Callable[P, R]:
    """Prefect's forms show what a docstring says of a parameter: the flows all take the same."""
    runner = RUNNER if "runner" in inspect.signature(function).parameters else ""
    function.__doc__ = f"{function.__doc__}{PARAMETERS}{runner}"
    return function


def run_name() -> str:
    """The recipe's name and the hash of what it resolves to, such as demo-1a2b3c4d; what was
    given as the recipe where it cannot be read, which the run itself will tell."""
    given = flow_run.parameters
    name = str(given.get("recipe"))
    try:
        recipe = load_recipe(
            name,
            given.get("overrides") or [],
            given.get("scale", 1.0),
            offline=given.get("offline", False),
        )
    except ShardmillError:
        return name
    settings = recipe.model_dump(mode="json", by_alias=True)
    return f"{recipe.name}-{fingerprint(settings, 8)}"


def run_flow(
    recipe: str,
    out: str | None,
    overrides: list[str] | None,
    scale: float,
    offline: bool,
    share: bool,
    work: Callable[[Plan, Progress], None],
) -> State[None] | None:
    """Do `work` on a recipe's plan, alone in its OUT; the state to end with, None for Completed.

    An error of ours is one line in the log and the state's message.
    """
    logger = get_run_logger()
    try:
        plan = plan_build(recipe, out, overrides or [], scale, offline=offline)
        logger.info("%s in %s: %s", plan.recipe.name, plan.out.resolve(), plan.describe())
        with lock(plan.out, share=share), ExitStack() as stack:
            if share:
                plan = stack.enter_context(joined(plan))
            work(plan, stack.enter_context(_progress(plan)))
    except ShardmillError as error:
        if isinstance(error, Interrupted) and deployment.id is not None:
            logger.warning("%s", error)
            _end_interrupted()
        logger.error("%s", error)
        return Failed(message=f"{type(error).__name__}: {error}", data=error)
    return None


def _end_interrupted() -> NoReturn:
    """Leave a run that is being cancelled as it is: the worker sets it to Cancelled, and would undo
    a retry that came before that. Otherwise a signal came from elsewhere, and the run ends as it
    does where one reaches Prefect's own handler, which was not in force."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.id)).state
    if state is not None and state.is_cancelling():
        raise Abort("interrupted by a request to cancel")
    raise TerminationSignal(signal.SIGTERM)


def _progress(plan: Plan) -> Progress:
    """On the terminal for a run from the command line, in the log and as artifacts for a
    deployment's run."""
    if deployment.id is None:
        return Progress()
    return Progress(sink=stage_progress(plan.recipe.name), log=get_run_logger().info)
