"""The command line. Prefect is imported by `run` alone, so that the rest answers at once."""

import importlib.metadata
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import cyclopts
from cyclopts import Parameter

from data.errors import Interrupted, RecipeError, ShardmillError, nearest
from data.places import shown
from data.store import flush
from flows.calling import api_url, run_flow
from flows.console import make_console

if TYPE_CHECKING:
    from polars import DataFrame

    from flows.plan import Plan

app = cyclopts.App(
    name="shardmill",
    help="Turn seeds into training shards for small language models.\n\n"
    "Start with `shardmill run demo`, then `shardmill inspect runs/demo/shards`.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    version=lambda: importlib.metadata.version("shardmill"),
)
screen = make_console()

QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
"""Prefect says nothing of its own on the terminal: errors reach it as our one line."""

Set = Annotated[tuple[str, ...], Parameter(name="--set", negative=(), consume_multiple=False)]


@app.command
def run(
    recipe: str = "",
    /,
    *,
    out: Path | None = None,
    set_: Set = (),
    scale: float = 1.0,
    offline: bool = False,
    share: bool = False,
    runner: Literal["threads", "ray"] = "threads",
    address: Annotated[str | None, Parameter(show_default=False)] = None,
    deployment: Annotated[str, Parameter(show_default=False)] = "",
    cancel_on_interrupt: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Build a recipe's shards, reusing whatever OUT already holds.

    Example: shardmill run demo --scale 0.5 --set engine.sampling.temperature=0.6

    Example: shardmill run --deployment build/demo --scale 0.5

    Parameters
    ----------
    recipe
        A shipped recipe's name (see `shardmill list recipes`) or the path of a YAML file.
    out
        The folder to fill; runs/NAME if left out. The same command resumes what was cut off.
    set_
        Change a key of the recipe: --set generate.math.samples=500. May be given often.
    scale
        Factor on every count of samples and rows and on every budget of tokens: --scale 0.1
        tries a recipe out.
    offline
        Read each corpus and hub set of seeds from its shipped sample.
    share
        Join other runs of the same command over the same folder, on this or other machines: each
        part is made by one of them.
    runner
        Where samples are curated, tokenized and packed: in threads here, or on a Ray cluster.
    address
        The Ray cluster, as HOST:PORT or ray://HOST:PORT; RAY_ADDRESS, or one of this machine for
        the time of the run, if left out.
    deployment
        Let a worker do it, such as build/demo, and follow its run; what is not given here is as
        the deployment has it, paths are the worker's. Ctrl-C leaves the run going.
    cancel_on_interrupt
        Ctrl-C cancels the deployment's run in place of leaving it.
    """
    for name, value in QUIET.items():  # before anything imports Prefect, which reads them once
        os.environ.setdefault(name, value)
    given = {"recipe": recipe, "overrides": list(set_), "scale": scale, "offline": offline}
    given |= {"share": share, "runner": runner, "ray_address": address}
    if deployment:
        from flows.following import run_deployment

        defaults = {"recipe": "", "overrides": [], "scale": 1.0, "offline": False}
        defaults |= {"share": False, "runner": "threads", "ray_address": None}
        changed = {key: value for key, value in given.items() if value != defaults[key]}
        changed |= {"out": str(out)} if out else {}
        run_deployment(deployment, changed, screen, cancel_on_interrupt=cancel_on_interrupt)
        return
    if share and runner == "ray":
        raise RecipeError(
            "--share divides parts among builds, --runner ray among the nodes of one",
            fix="leave one of them out",
        )
    if not recipe:
        raise RecipeError("run which recipe?", fix="`shardmill list recipes` names them")
    from data.leases import lock
    from flows.plan import plan_build

    plan = plan_build(recipe, out, set_, scale, offline=offline)
    reused = plan.describe()
    table = None if api_url() else _reuse(plan)
    if table is not None:
        screen.print(f"nothing to do: {reused}")
    else:
        from flows.report import funnel, show_account

        screen.print(f"building {plan.recipe.name} in {shown(plan.out)}: {reused}", markup=False)
        plan.check_engine()
        if runner == "ray":
            from flows.ray_address import find_cluster

            find_cluster(address)
        with lock(plan.out, share=share):
            pass  # taken by another build: say so before anything is started
        run_flow(plan.out, given)
        table = funnel(plan)
        screen.print(show_account(plan) or "")
    _summarize(plan, table)


def _reuse(plan: "Plan") -> "DataFrame | None":
    """The funnel of a build with nothing to do; None where there is something, be it damage."""
    from data.errors import DamagedPart
    from flows.lookup import index_build
    from flows.page import write_page
    from flows.report import write_report
    from flows.storing import store_build

    if not plan.done:
        return None
    try:
        store_build(plan)
        index_build(plan.out, plan.recipe.name)
        table = write_report(plan)
        write_page(plan.out)
        return table
    except DamagedPart:
        return None


def _summarize(plan: "Plan", table: "DataFrame") -> None:
    from flows.report import show

    screen.print(show(table))
    for target in plan.targets:
        manifest = target.shards.manifest or {}
        for split, counts in manifest["splits"].items():
            screen.print(
                f"{target.name} {split}: {counts['rows']:,} rows, {counts['documents']:,} "
                f"documents, {counts['tokens']:,} tokens, fill {counts['fill']:.1%}"
            )
        if not manifest["splits"]["train"]["rows"]:
            screen.print(f"warning: {target.name} has no training rows", style="yellow")
        screen.print(f"shards: {shown(target.shards.folder)}", markup=False)
    page = plan.out / "report" / "index.html"
    screen.print(f"report: {page.resolve().as_uri()}", markup=False)


@app.command
def verify(path: Path, /, *, drop: bool = False) -> None:
    """Test every checksum and the invariants of packed rows; exit 1 where one fails.

    Example: shardmill verify runs/demo

    Parameters
    ----------
    path
        A build's folder, or any folder in it.
    drop
        Remove what is wrong, so that the next run makes it again.
    """
    from flows.verification import drop_wrong, verify_folder

    checked, wrong = verify_folder(path)
    for file, problem in wrong:
        screen.print(f"wrong: {shown(file)} {problem}", markup=False)
    if wrong and drop:
        drop_wrong(wrong)
    if wrong:
        done = "they are removed" if drop else "remove them with --drop"
        raise ShardmillError(
            f"{len(wrong)} of {checked} files are wrong",
            where=shown(path),
            fix=f"{done} and run the build again",
        )
    screen.print(f"{checked} files are as their manifests say")


def _later(target: str) -> None:
    """Register MODULE:FUNCTION, imported when it is asked for; its help is read as text, so that
    `shardmill --help` shows its first line and imports nothing."""
    module, _, name = target.partition(":")
    source = Path(__file__).with_name(f"{module.partition('.')[2]}.py").read_text("utf-8")
    text = source.partition(f"\ndef {name}(")[2].split('"""')[1]
    app.command(target, help=inspect.cleandoc(text))


_later("flows.doctor:doctor")
_later("flows.planning:plan")
_later("flows.preview:preview")
_later("flows.train:train")
_later("flows.inspecting:inspect")
_later("flows.explaining:explain")
_later("flows.comparing:diff")
_later("flows.collecting:gc")
_later("flows.exporting:export")
_later("flows.reporting:report")
_later("flows.schema:schema")


@app.command(name="list")
def list_(what: str = "recipes", /) -> None:
    """List what there is: recipes, kinds, filters, tokenizers, templates or exporters.

    Example: shardmill list kinds
    """
    from flows.listing import LISTS

    if what not in LISTS:
        raise RecipeError(f"nothing to list as {what!r}", fix=nearest(what, LISTS))
    lines = LISTS[what]()
    widest = max((len(name) for name, _ in lines), default=0)
    for name, line in lines:
        screen.print(f"{name:<{widest}}  {line}", markup=False)


def main() -> NoReturn:
    """The console script: errors are one line on stderr and the tree's exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_guarded(lambda: app(exit_on_error=False, print_error=False)))


def _terminate(number: int, frame: object) -> None:
    """A scheduler's SIGTERM ends a build as Ctrl-C does: servers stopped, OUT resumable. While
    completions are asked for, generation handles both itself."""
    raise KeyboardInterrupt


def _guarded(command: Callable[[], object]) -> int:
    errors = make_console(stderr=True)
    try:
        command()
        flush()
    except cyclopts.CycloptsError as error:
        errors.print(f"error: {error}; see `shardmill --help`", markup=False)
        return 2
    except ShardmillError as error:
        errors.print(f"error: {error}", markup=False)
        return error.exit_code
    except BrokenPipeError:
        return 141
    except BaseException as error:
        if not _from_interrupt(error):
            raise
        errors.print("interrupted: what is done is kept, the same command resumes")
        return Interrupted.exit_code
    return 0


def _from_interrupt(error: BaseException | None) -> bool:
    """Prefect may turn Ctrl-C into errors of its own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error)[:500]:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
