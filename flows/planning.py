"""`shardmill plan`: what a build would do, why, and what it would cost."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from data.errors import RecipeError
from flows.console import make_console

if TYPE_CHECKING:
    from flows.estimates import Estimate, Total
    from flows.plan import Plan
    from flows.reasons import StageState

screen = make_console()
Set = Annotated[tuple[str, ...], Parameter(name="--set", negative=(), consume_multiple=False)]


def plan(
    recipe: str,
    /,
    *,
    out: Path | None = None,
    set_: Set = (),
    scale: float = 1.0,
    offline: bool = False,
    pilot: int = 0,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show what a build would make, reuse and cost, without making anything.

    Example: shardmill plan demo --set curate.0.length.min_tokens=60

    Example: shardmill plan cosmo-1b --pilot 50

    Parameters
    ----------
    recipe
        A shipped recipe's name (see `shardmill list recipes`) or the path of a YAML file.
    out
        The folder that the build would fill; runs/NAME if left out.
    set_
        Change a key of the recipe: --set generate.math.samples=500. May be given often.
    scale
        Factor on every sample count and token budget.
    offline
        Plan for the shipped samples in place of hub sets.
    pilot
        Generate this many samples of each source first, into OUT, where the build itself will
        reuse them, and estimate from those.
    json_
        Print one JSON object.
    """
    from flows.datasets_needed import reachable
    from flows.disk import disk
    from flows.estimates import estimate, output_tokens, total
    from flows.plan import plan_build
    from flows.reasons import stage_states

    if pilot < 0:
        raise RecipeError("--pilot must not be negative")
    made = plan_build(recipe, out, set_, scale, offline=offline, check=False)
    if pilot:
        _run_pilot(recipe, out, set_, scale, offline, pilot)
    states = stage_states(made)
    estimates = estimate(made)
    whole = total(made, estimates, _gpus(made)) if estimates else None
    outputs = output_tokens(made, estimates)
    room = disk(made, estimates, outputs)
    truth = _truth(made)
    sets = reachable(made)
    if json_:
        content = {
            "recipe": made.recipe.name,
            "out": str(made.out),
            "stages": [{**asdict(state), "folder": str(state.folder)} for state in states],
            "sources": [asdict(one) for one in estimates],
            "total": asdict(whole) if whole else None,
            "outputs": outputs,
            "disk": {**asdict(room), "most": room.most},
            "truth": truth,
            "datasets": sets,
        }
        print(json.dumps(content, indent=1))  # noqa: T201 - for machines
        return
    screen.print(_stage_table(states))
    if whole is not None:
        screen.print(_source_table(estimates))
        for line in _total_lines(whole):
            screen.print(line, markup=False)
    for name, tokens in outputs.items():
        size = "unknown: a corpus does not say what to expect" if tokens is None else f"{tokens:,}"
        screen.print(f"output {name}, training tokens: {size}", markup=False)
    screen.print(room.line(), markup=False)
    for name, state in sets.items():
        screen.print(f"needs {name}: {state}", markup=False)
    if truth:
        screen.print(_truth_table(truth))


def _gpus(made: "Plan") -> int:
    from inference.supervisor import visible_gpus

    launch = made.recipe.engine.launches if made.generated else None
    if launch is None or launch.gpus == "cpu":
        return 0
    return len(visible_gpus()) if launch.gpus == "auto" else len(launch.gpus)


def _run_pilot(
    recipe: str, out: Path | None, set_: tuple[str, ...], scale: float, offline: bool, rows: int
) -> None:
    """Generation alone, of `rows` samples of each source, whose completions the build reuses."""
    from data.leases import lock
    from flows.build import run_sources
    from flows.plan import make_plan, plan_build
    from flows.progress import Progress

    whole = plan_build(recipe, out, set_, scale, offline=offline)
    few = {
        name: source.model_copy(update={"samples": min(rows, source.samples)})
        for name, source in whole.recipe.generate.items()
    }
    small = make_plan(whole.recipe.model_copy(update={"generate": few}), whole.out)
    with lock(small.out), Progress() as progress:
        run_sources(replace(small, steps=(), targets=()), progress)


def _stage_table(states: "list[StageState]") -> Table:
    shown = Table(title="Stages")
    for column in ("stage", "state", "why"):
        shown.add_column(column)
    words = {"done": "reused", "part": "in part", "new": "to make"}
    for state in states:
        style = "dim" if state.state == "done" else None
        shown.add_row(state.name, words[state.state], Text(state.why), style=style)
    return shown


def _source_table(estimates: "list[Estimate]") -> Table:
    shown = Table(title="Generation")
    columns = ("source", "kind", "samples", "to ask", "requests", "reply tokens", "range", "from")
    for column in columns:
        left = column in ("source", "kind", "from")
        shown.add_column(column, justify="left" if left else "right")
    for one in estimates:
        shown.add_row(
            one.source,
            one.kind,
            f"{one.samples:,}",
            f"{one.to_ask:,}",
            f"{one.requests:,}",
            f"{one.completion_tokens:,}",
            f"{one.low:,} to {one.high:,}" if one.to_ask else "",
            one.basis if one.to_ask else "",
        )
    return shown


def _total_lines(whole: "Total") -> list[str]:
    from flows.progress import clock

    lines = [
        f"in all: {whole.requests:,} requests, {whole.completion_tokens:,} reply tokens "
        f"({whole.low:,} to {whole.high:,})"
        + (f", {whole.prompt_tokens:,} prompt tokens" if whole.prompt_tokens else "")
    ]
    if not whole.requests:
        return ["in all: nothing to generate"]
    if whole.rate is None or whole.seconds is None or whole.gpu_hours is None:
        lines.append("time: unknown; give --pilot 50, or engine.tokens_per_second in the recipe")
    else:
        low, high = (clock(bound / whole.rate) for bound in (whole.low, whole.high))
        lines.append(
            f"time: {clock(whole.seconds)} ({low} to {high}) at {whole.rate:,.0f} tokens/s, "
            f"{whole.rate_basis}; {whole.gpu_hours:,.1f} GPU hours"
            + (f" on {whole.gpus} GPUs" if whole.gpus else "")
        )
    if whole.money is not None:
        lines.append(f"money: {whole.money:,.2f}")
    return lines


def _truth(made: "Plan") -> dict[str, dict[str, Any]]:
    """Of each source that was generated here: what had been estimated, and what came."""
    path = made.out / "estimate.json"
    stored = json.loads(path.read_bytes()) if path.is_file() else {}
    found = {}
    for source in made.generated:
        account = (source.completions.manifest or {}).get("account", {})
        if source.name in stored and account.get("requests"):
            before = stored[source.name]
            found[source.name] = {
                "requests": [before["requests"], account["requests"]],
                "completion_tokens": [before["completion_tokens"], account["completion_tokens"]],
                "range": [before["low"], before["high"]],
            }
    return found


def _truth_table(truth: dict[str, dict[str, Any]]) -> Table:
    shown = Table(title="The last build: estimated and true")
    shown.add_column("source")
    for column in ("requests", "true", "reply tokens", "range", "true"):
        shown.add_column(column, justify="right")
    for name, facts in truth.items():
        (asked, really), (tokens, came) = facts["requests"], facts["completion_tokens"]
        low, high = facts["range"]
        cells = (f"{asked:,}", f"{really:,}", f"{tokens:,}", f"{low:,} to {high:,}", f"{came:,}")
        shown.add_row(name, *cells)
    return shown
