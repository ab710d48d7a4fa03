"""`OUT/build.json`: which recipe and which stages the build in OUT is made of."""

import importlib.metadata
import json
import platform
import re
from pathlib import Path
from typing import Any

from data.parts import Stage, write_if_changed
from filters import Cleaner
from flows.plan import Plan

NAME = "build.json"
PACKAGES = (
    "shardmill", "prefect", "polars", "pyarrow", "numpy", "numba", "tokenizers", "fastokens",
    "datasets", "datatrove",
)  # fmt: skip
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")


def write_record(plan: Plan) -> None:
    """So that a report can be made of OUT alone, whatever becomes of the recipe's file."""

    def folder(stage: Stage) -> str:
        return stage.folder.relative_to(plan.out).as_posix()

    recipe = _without_secrets(_shown(plan))
    record = {
        "recipe": recipe,
        "model": recipe["engine"]["model"] if recipe.get("generate") else None,
        "versions": {"python": platform.python_version()} | _versions(),
        "sources": [
            {
                "name": source.name,
                "stages": [folder(stage) for stage in source.stages],
                "samples": folder(source.samples),
            }
            for source in plan.sources
        ],
        "steps": [
            {
                "filter": step.settings.filter,
                "cleaner": isinstance(step.judge, Cleaner),
                "verdicts": folder(step.verdicts),
            }
            for step in plan.steps
        ],
        "outputs": [
            {"name": target.name, "shards": folder(target.shards), "sources": list(target.sources)}
            for target in plan.targets
        ],
    }
    write_if_changed(plan.out / NAME, json.dumps(record, indent=1).encode() + b"\n")


def _shown(plan: Plan) -> dict[str, Any]:
    """The recipe as it was resolved, what is as the defaults have it left out."""
    recipe: dict[str, Any] = plan.recipe.model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )
    if "curate" in recipe:
        recipe["curate"] = [
            {step.pop("filter"): step.pop("knobs", {}) | step} for step in recipe["curate"]
        ]
    return recipe


def _without_secrets(value: Any) -> Any:
    """User names and passwords in addresses are nobody else's business."""
    if isinstance(value, str):
        return _SECRET.sub("", value)
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def read_record(out: Path) -> dict[str, Any] | None:
    """None where OUT has none or it is torn."""
    try:
        found = json.loads((out / NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
