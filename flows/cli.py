"""The command line. Prefect is imported by `run` alone, so that the rest answers at once."""

import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import cyclopts
from cyclopts import Parameter
from rich.console import Console

from data.errors import Interrupted, RecipeError, ShardmillError, nearest
from data.parts import lock

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
def run(
    recipe: str,
    /,
    *,
    out: Path | None = None,
    set_: Set = (),
    scale: float = 1.0,
    offline: bool = False,
) -> None:
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
        Factor on every count of samples and rows and on every budget of tokens: --scale 0.1
        tries a recipe out.
    offline
        Read each corpus and hub set of seeds from its shipped sample.
    """
    for name, value in QUIET.items():  # before anything imports Prefect, which reads them once
        os.environ.setdefault(name, value)
    from flows.plan import plan_build

    plan = plan_build(recipe, out, set_, scale, offline=offline)
    reused = plan.describe()
    table = None if api_url() else _reuse(plan)
    if table is not None:
        screen.print(f"nothing to do: {reused}")
    else:
        from flows.report import funnel, show_account

        screen.print(f"building {plan.recipe.name} in {plan.out}: {reused}", markup=False)
        plan.check_engine()
        with lock(plan.out):
            pass  # taken by another build: say so before anything is started
        given = {"recipe": recipe, "overrides": list(set_), "scale": scale, "offline": offline}
        _run_flow(plan.out, given)
        table = funnel(plan)
        screen.print(show_account(plan) or "")
    _summarize(plan, table)


def _reuse(plan: "Plan") -> "DataFrame | None":
    """The funnel of a build with nothing to do; None where there is something, be it damage."""
    from data.errors import DamagedPart
    from flows.report import write_report

    if not plan.done:
        return None
    try:
        return write_report(plan)
    except DamagedPart:
        return None


def api_url() -> str | None:
    """Where Prefect's server is, from the environment or the user's profile."""
    if "PREFECT_API_URL" in os.environ:
        return os.environ["PREFECT_API_URL"]
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    configured = (home / "profiles.toml", *map(Path, ("prefect.toml", ".env", "pyproject.toml")))
    texts = [path.read_text(errors="replace") for path in configured if path.is_file()]
    if not any("api" in text.lower() for text in texts):
        return None  # so that a build with nothing to do need not import Prefect: 2 seconds
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _run_flow(out: Path, given: dict[str, Any]) -> None:
    for name in ("NO_PROXY", "no_proxy"):  # loopback is not asked through a proxy
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost")))
    if api_url():
        _call_flow(out, given)
        return
    from flows.local_prefect import local_prefect

    server, url = local_prefect(out)
    server.start()
    os.environ["PREFECT_API_URL"] = url
    try:
        import flows.build  # noqa: F401 - a second of work while the server starts

        server.wait()
        _call_flow(out, given)
    finally:
        os.environ.pop("PREFECT_API_URL")
        server.stop()


def _call_flow(out: Path, given: dict[str, Any]) -> None:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.build import build

    try:
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            state = build(**given, out=str(out), return_state=True)
    except RuntimeError as error:
        if "API" not in str(error):
            raise
        raise ShardmillError(
            f"Prefect's server does not answer ({str(error).partition(chr(10))[0]})",
            where=api_url() or "",
            fix="start it, or unset PREFECT_API_URL",
        ) from error
    if not state.is_completed():
        failure = state.result(raise_on_failure=False)
        if isinstance(failure, BaseException):
            raise failure
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
        if not manifest["splits"]["train"]["rows"]:
            screen.print(f"warning: {target.name} has no training rows", style="yellow")
        screen.print(f"shards: {target.shards.folder}", markup=False)


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

    if rows < 0 or width < 1:
        raise RecipeError("--rows must not be negative and --width must be above 0")
    inspect_shards(path, rows, width, screen)


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
        screen.print(f"wrong: {file} {problem}", markup=False)
    if wrong and drop:
        drop_wrong(wrong)
    if wrong:
        done = "they are removed" if drop else "remove them with --drop"
        raise ShardmillError(
            f"{len(wrong)} of {checked} files are wrong",
            where=str(path),
            fix=f"{done} and run the build again",
        )
    screen.print(f"{checked} files are as their manifests say")


app.command("flows.doctor:doctor")
app.command("flows.planning:plan")
app.command("flows.preview:preview")
app.command("flows.exporting:export")
app.command("flows.schema:schema")


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
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        command()
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
