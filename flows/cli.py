"""The command line. Prefect is imported by `run` alone, so that the rest answers at once."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from data.errors import Interrupted, ShardmillError

if TYPE_CHECKING:
    from polars import DataFrame

    from flows.plan import Plan

app = cyclopts.App(
    name="shardmill",
    help="Turn seeds into training shards for small language models.\n\n"
    "Start with `shardmill run demo`, then `shardmill inspect runs/demo/shards`.",
    result_action="return_value",
)
screen = Console(highlight=False, soft_wrap=True)
if not screen.is_terminal:
    screen.width = 160  # tables in a log or a pipe are not to be squeezed

QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
"""Prefect says nothing of its own on the terminal: errors reach it as our one line."""

Set = Annotated[tuple[str, ...], Parameter(name="--set", negative=(), consume_multiple=False)]


@app.command
def run(recipe: str, /, *, out: Path | None = None, set_: Set = (), scale: float = 1.0) -> None:
    """Build a recipe's shards, reusing whatever OUT already holds.

    Example: shardmill run demo --scale 0.5 --set engine.sampling.temperature=0.6

    Parameters
    ----------
    recipe
        A shipped recipe's name (see `shardmill list recipes`) or the path of a YAML file.
    out
        The folder to fill; runs/NAME if left out. The same command resumes what was cut off.
    set_
        Change a key of the recipe: --set generate.math.samples=500. May be given often.
    scale
        Factor on every sample count: --scale 0.1 tries a recipe out.
    """
    from flows.plan import plan_build

    plan = plan_build(recipe, out, set_, scale)
    reused = plan.describe()
    if plan.done and not _api_url():
        from flows.report import write_report

        table = write_report(plan)
        screen.print(f"nothing to do: {reused}")
    else:
        from flows.report import funnel, show_account

        screen.print(f"building {plan.recipe.name} in {plan.out}: {reused}")
        plan.check_engine()
        _run_flow(recipe, plan.out, set_, scale)
        table = funnel(plan)
        screen.print(show_account(plan) or "")
    _summarize(plan, table)


def _api_url() -> str | None:
    """Where Prefect's server is, from the environment or the user's profile."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"]
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    configured = (home / "profiles.toml", *map(Path, ("prefect.toml", ".env", "pyproject.toml")))
    if not any("api" in path.read_text().lower() for path in configured if path.is_file()):
        return None  # so that a build with nothing to do need not import Prefect: 2 seconds
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _run_flow(recipe: str, out: Path, overrides: tuple[str, ...], scale: float) -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if _api_url():
        _call_flow(recipe, out, overrides, scale)
        return
    from flows.local_prefect import local_prefect

    server, url = local_prefect(out)
    server.start()
    os.environ["PREFECT_API_URL"] = url
    try:
        import flows.build  # noqa: F401 - a second of work while the server starts

        server.wait()
        _call_flow(recipe, out, overrides, scale)
    finally:
        os.environ.pop("PREFECT_API_URL")
        server.stop()


def _call_flow(recipe: str, out: Path, overrides: tuple[str, ...], scale: float) -> None:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.build import build

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        state = build(
            recipe=recipe, out=str(out), overrides=list(overrides), scale=scale, return_state=True
        )
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        if isinstance(error, BaseException):
            raise error
        raise ShardmillError(state.message or f"the flow run ended as {state.name}")


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
        screen.print(f"shards: {target.shards.folder}")


@app.command
def inspect(path: Path, /, *, rows: int = 2, width: int = 100) -> None:
    """Show shards: schema, counts, fill, token histogram, and rows with document borders.

    Example: shardmill inspect runs/demo/shards --rows 5

    Parameters
    ----------
    path
        A folder of shards, or one above it (runs/demo or runs/demo/shards).
    rows
        How many rows to decode, spread over the shards.
    width
        Characters shown from the start and the end of each document.
    """
    from flows.inspection import inspect_shards

    inspect_shards(path, rows, width, screen)


@app.command
def verify(path: Path, /) -> None:
    """Test every checksum and the invariants of packed rows; exit 1 where one fails.

    Example: shardmill verify runs/demo
    """
    from flows.inspection import verify_folder

    checked, wrong = verify_folder(path)
    for line in wrong:
        screen.print(f"wrong: {line}", markup=False)
    if wrong:
        raise ShardmillError(
            f"{len(wrong)} of {checked} files are wrong",
            where=str(path),
            fix="remove them and run the build again",
        )
    screen.print(f"{checked} files are as their manifests say")


@app.command(name="list")
def list_(what: str = "recipes", /) -> None:
    """List what recipes can name: recipes, kinds, filters, tokenizers or templates.

    Example: shardmill list kinds
    """
    from flows.listing import LISTS

    if what not in LISTS:
        from data.errors import RecipeError, nearest

        raise RecipeError(f"nothing to list as {what!r}", fix=nearest(what, LISTS))
    lines = LISTS[what]()
    widest = max((len(name) for name, _ in lines), default=0)
    for name, line in lines:
        screen.print(f"{name:<{widest}}  {line}", markup=False)


def main() -> NoReturn:
    """The console script: errors are one line on stderr and the tree's exit code."""
    sys.exit(_guarded(lambda: app(exit_on_error=False, print_error=False)))


def _guarded(command: Callable[[], object]) -> int:
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        command()
    except cyclopts.CycloptsError as error:
        errors.print(f"error: {error}; see `shardmill --help`", markup=False)
        return 2
    except KeyboardInterrupt:
        errors.print("interrupted: what is done is kept, the same command resumes")
        return Interrupted.exit_code
    except ShardmillError as error:
        errors.print(f"error: {error}", markup=False)
        return error.exit_code
    except BrokenPipeError:
        return 141
    return 0
