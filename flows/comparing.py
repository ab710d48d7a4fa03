"""`shardmill diff`: how two builds differ."""

import json as js
import sys
from pathlib import Path
from typing import Any

from rich.text import Text

from data.errors import RecipeError
from flows.comparison import compare
from flows.console import make_console
from flows.showing import diff as changes
from flows.showing import one_line
from flows.stored import StoredBuild, find_out, read_builds

screen = make_console()


def diff(
    out_a: Path, out_b: Path, /, *, recipe: str | None = None, examples: int = 3, json: bool = False
) -> None:
    """Compare two builds: recipes, versions, funnels, samples, texts and verdicts.

    Example: shardmill diff runs/demo runs/demo-warm

    Samples of the same source, seed and knobs have the same id: their texts are compared, also
    where model, sampling or prompts differ.

    Parameters
    ----------
    out_a
        A build's folder.
    out_b
        Another one.
    recipe
        Which recipe's build, where a folder holds several; the newest if left out.
    examples
        How many ids and texts are shown of each difference.
    json
        Print one JSON object.
    """
    if examples < 0:
        raise RecipeError("--examples must not be negative")
    found = compare(_build(out_a, recipe), _build(out_b, recipe), examples)
    if json:
        sys.stdout.write(js.dumps(found, ensure_ascii=False, indent=1, default=str) + "\n")
        return
    _show(found)


def _build(out: Path, recipe: str | None) -> StoredBuild:
    builds = read_builds(find_out(out))
    chosen = [build for build in builds if recipe in (None, build.name)]
    if not chosen:
        known = ", ".join(build.name for build in builds)
        raise RecipeError(f"holds no recipe {recipe!r}", where=str(out), fix=f"it has {known}")
    return chosen[0]


def _show(found: dict[str, Any]) -> None:
    for side in ("a", "b"):
        _line(f"{side}: {found[side]['out']}  ({found[side]['recipe']})", "bold")
    for title in ("recipe", "versions"):
        _title(title, len(found[title]))
        for row in found[title]:
            _line(f"  {row['key']}: {_value(row['a'])} > {_value(row['b'])}")
    _show_funnel(found["funnel"])
    samples = found["samples"]
    _line(f"samples: {samples['same']:,} with the same text", "bold cyan")
    for side in ("a", "b"):
        only = samples[f"only_in_{side}"]
        _counted(f"only in {side}", only, "ids")
    _counted("another verdict", samples["verdict_changed"], "ids")
    changed = samples["text_changed"]
    _counted("another text", changed, "")
    for row in changed["shown"]:
        _line(f"  {row['id']}", "bold")
        screen.print(Text("    ") + changes(row["a"], row["b"]))


def _line(text: str, style: str = "") -> None:
    screen.print(Text(text, style=style))


def _title(title: str, count: int) -> None:
    _line(f"{title}: {f'{count} differ' if count else 'the same'}", "bold cyan")


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    return one_line(js.dumps(value, ensure_ascii=False, default=str))


def _show_funnel(funnel: dict[str, Any]) -> None:
    if funnel["missing"]:
        _line(f"funnel: {funnel['missing']} is missing, its build is not finished", "yellow")
        return
    _title("funnel", len(funnel["rows"]))
    for row in funnel["rows"]:
        names = (row[name] for name in ("source", "tag", "stage", "reason"))
        _line(
            f"  {' '.join(name for name in names if name)}: {row['rows']:,} > {row['rows_b']:,} "
            f"samples, {row['tokens']:,} > {row['tokens_b']:,} tokens"
        )


def _counted(title: str, found: dict[str, Any], ids: str) -> None:
    if not found["rows"]:
        return
    _line(f"{title}: {found['rows']:,} samples", "bold cyan")
    for row in found["by"]:
        names = [row.get("source"), row.get("tag")]
        if "same_prompt" in row:
            names.append("same prompt" if row["same_prompt"] else "other prompt")
        if "a" in row:
            names.append(f"{row['a']} > {row['b']}")
        _line(f"  {', '.join(name for name in names if name)}: {row['rows']:,}")
    if ids and found[ids]:
        _line(f"  such as {', '.join(found[ids])}")
