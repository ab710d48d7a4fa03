"""Why a stage of a plan is made again: its settings beside those of the newest earlier one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.parts import Stage, read_manifest
from data.store import names_in
from flows.plan import Plan

CODE = ("code", "templates")
"""Settings that are hashes of source texts."""
SHOWN = 60
"""Characters of a value."""


@dataclass(frozen=True)
class StageState:
    """`state` is done, part or new; `why` is empty for a stage that is done."""

    name: str
    state: str
    why: str
    folder: Path


def stage_states(plan: Plan) -> list[StageState]:
    """Every stage in the order of a build. Reads manifests alone."""
    earlier = _newest(plan)
    states: list[StageState] = []
    anew: set[str] = set()
    for stage in plan.stages():
        if stage.done:
            states.append(StageState(stage.name, "done", "", stage.folder))
            continue
        anew.add(stage.name)
        parts = len(names_in(stage.folder, "part-*")) if stage.at is None else 0
        why = "; ".join(_reasons(stage, earlier.get(stage.name), anew))
        if parts:
            why = f"{parts:,} parts are there, the rest is missing"
        states.append(StageState(stage.name, "part" if parts else "new", why, stage.folder))
    return states


def _newest(plan: Plan) -> dict[str, dict[str, Any]]:
    """The last finished manifest of each stage's name under OUT."""
    folders = [*(plan.out / "stages").glob("*"), *(target.shards.folder for target in plan.targets)]
    found: list[tuple[float, dict[str, Any]]] = []
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest is not None:
            found.append(((folder / "manifest.json").stat().st_mtime, manifest))
    found.sort(key=lambda pair: pair[0])
    return {manifest["stage"]: manifest for _, manifest in found}


def _reasons(stage: Stage, before: dict[str, Any] | None, anew: set[str]) -> Iterator[str]:
    if before is None:
        yield "was never made here"
        return
    if before["hash"] == stage.hash:
        yield "a part of it is missing"
        return
    now = json.loads(json.dumps(stage.settings))
    changes = list(_changes(before["settings"], now, ""))
    yield from changes
    inputs = dict(name.rsplit("-", 1) for name in before["inputs"])
    for read in stage.inputs:
        if read.name not in inputs:
            yield f"reads {read.name} too"
        elif inputs[read.name] != read.hash:
            verb = "is made again" if read.name in anew else "is another one"
            yield f"{read.name} {verb}"
    names = {read.name for read in stage.inputs}
    for name in inputs:
        if name not in names:
            yield f"no longer reads {name}"


def _changes(before: Any, now: Any, place: str) -> Iterator[str]:
    """`knobs.min_tokens 100 > 150`, for every value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            inside = f"{place}.{key}" if place else str(key)
            if key not in before:
                yield f"{inside} is now {_value(now[key])}"
            elif key not in now:
                yield f"{inside} was {_value(before[key])}"
            else:
                yield from _changes(before[key], now[key], inside)
    elif before != now:
        last = place.rpartition(".")[2]
        if last in CODE:
            yield f"its {'code' if last == 'code' else 'template'} changed"
        elif last == "files":
            yield "its files changed"
        else:
            yield f"{place.removeprefix('knobs.')} {_value(before)} > {_value(now)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
