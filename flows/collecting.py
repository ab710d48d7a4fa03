"""`shardmill gc`: remove stages that no recipe of a build's folder uses any more."""

import json as js
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from data.errors import OutputError, RecipeError
from data.leases import lock
from data.parts import MANIFEST, output_error, read_manifest
from data.places import shown
from data.store import remove, remove_below, sizes_in
from flows.console import make_console
from flows.stored import find_out, read_builds

screen = make_console()
More = Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False)]


def gc(
    out: Path,
    /,
    *,
    recipe: More = (),
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Remove stages that no recipe uses any more; the record of completions always stays.

    Example: shardmill gc runs/demo --dry-run

    Used is what the last build of each recipe under OUT reads or makes, what finished shards were
    packed from, and what the recipes named with --recipe would reach now. Replies stay in
    OUT/completions, so a stage that is needed again costs no request.

    Parameters
    ----------
    out
        A build's folder.
    recipe
        A further recipe whose stages stay: a shipped name or a path. May be given often.
    yes
        Do not ask.
    dry_run
        List what would go.
    json
        Print one JSON object; removes only with --yes.
    """
    folder = find_out(out)
    if dry_run or (json and not yes):
        unused = find_unused(folder, recipe)
        _report(folder, unused, json=json, removed=False)
        return
    with lock(folder):
        unused = find_unused(folder, recipe)
        if unused and not yes and not _agreed(folder, unused):
            screen.print("nothing is removed")
            return
        for stage in unused:
            _remove(folder / "stages" / stage["stage"])
    _report(folder, unused, json=json, removed=True)


def find_unused(out: Path, recipes: Iterable[str] = ()) -> list[dict[str, Any]]:
    """`stage`, `bytes`, `days` since it was last written and `done` of each that nothing uses."""
    used = _used(out, recipes)
    found = []
    for folder in sorted((out / "stages").iterdir()):
        if not folder.is_dir() or folder.name in used:
            continue
        files = [path.stat() for path in folder.rglob("*") if path.is_file()]
        newest = max([folder.stat().st_mtime, *(file.st_mtime for file in files)])
        sizes = sizes_in(folder)
        found.append(
            {
                "stage": folder.name,
                "bytes": sum(sizes.values()),
                "days": round(max(0.0, time.time() - newest) / 86_400, 2),
                "done": read_manifest(folder) is not None,
            }
        )
    return found


def _used(out: Path, recipes: Iterable[str]) -> set[str]:
    """Names of stage folders, with all that they read."""
    waiting = [name for build in read_builds(out) for name in build.facts["stages"]]
    for folder in out.glob("shards/*"):
        waiting += (read_manifest(folder) or {}).get("inputs", ())
    for recipe in recipes:
        from flows.plan import plan_build  # noqa: PLC0415 - reads every kind and filter

        waiting += [stage.folder.name for stage in plan_build(recipe, out).stages()]
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += (read_manifest(out / "stages" / name) or {}).get("inputs", ())
    return used


def _agreed(out: Path, unused: list[dict[str, Any]]) -> bool:
    """Asks on the terminal. Raises RecipeError where nobody can answer."""
    if not sys.stdin.isatty():
        raise RecipeError("nobody can be asked here", where=str(out), fix="say --yes or --dry-run")
    _list(out, unused)
    return screen.input("remove them? [y/N] ").strip().lower() in ("y", "yes")


def _remove(folder: Path) -> None:
    """The manifest first: a removal that is cut off leaves no stage that seems whole."""
    if folder.is_symlink():
        raise OutputError("is a link", where=str(folder), fix="remove it yourself")
    try:
        remove(folder / MANIFEST)
        remove_below(folder)
        shutil.rmtree(folder)
    except OSError as error:
        raise output_error(folder, error) from error


def _report(out: Path, unused: list[dict[str, Any]], *, json: bool, removed: bool) -> None:
    size = sum(stage["bytes"] for stage in unused)
    if json:
        whole = {"out": str(out), "removed": removed, "bytes": size, "stages": unused}
        sys.stdout.write(js.dumps(whole, indent=1) + "\n")
    elif not unused:
        screen.print("nothing to remove: every stage is used")
    elif removed:
        screen.print(f"removed {len(unused)} stages, {size / 1e6:,.1f} MB")
    else:
        _list(out, unused)
        screen.print("nothing is removed")


def _list(out: Path, unused: list[dict[str, Any]]) -> None:
    widest = max(len(stage["stage"]) for stage in unused)
    for stage in unused:
        screen.print(
            f"{stage['stage']:<{widest}}  {stage['bytes'] / 1e6:>9,.1f} MB  "
            f"{stage['days']:>6.1f} days old  {'' if stage['done'] else 'not finished'}".rstrip(),
            markup=False,
        )
    size = sum(stage["bytes"] for stage in unused)
    screen.print(f"{len(unused)} stages of {shown(out)}, {size / 1e6:,.1f} MB", markup=False)
