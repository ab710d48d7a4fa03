"""Store in OUT what a build is made by: its resolved recipe, its versions and its stages."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import re
from typing import Any

import yaml

from data.parts import write_if_changed
from filters import Cleaner, CorpusFilter, filter_source
from flows.plan import Plan
from flows.recipe import CurationStep, Recipe
from flows.stored import RECIPES, role_of
from prompts import kind_source

PACKAGES = (
    "shardmill", "prefect", "polars", "pyarrow", "numpy", "numba", "tokenizers", "fastokens",
    "datasets", "datatrove",
)  # fmt: skip
_LOGIN = re.compile(r"//[^/@]*@")


def store_build(plan: Plan) -> None:
    """Only under the lock of OUT, or where nothing is left to do."""
    text = yaml.safe_dump(resolved(plan.recipe), sort_keys=False, allow_unicode=True)
    sources = {
        source.name: {role_of(stage.name): stage.folder.name for stage in source.stages}
        for source in plan.sources
    }
    facts = {
        "recipe": plan.recipe.name,
        "hash": hashlib.sha256(text.encode()).hexdigest()[:12],
        "shardmill": importlib.metadata.version("shardmill"),
        "versions": _versions(),
        "kinds": {s.kind: kind_source(s.kind) for s in plan.recipe.generate.values()},
        "filters": {step.filter: filter_source(step.filter) for step in plan.recipe.curate},
        "sources": sources,
        "steps": [
            {
                "filter": step.settings.filter,
                "only": list(step.settings.only),
                "except": list(step.settings.except_),
                "compares": isinstance(step.judge, CorpusFilter),
                "cleans": isinstance(step.judge, Cleaner),
                "stage": step.verdicts.folder.name,
            }
            for step in plan.steps
        ],
        "outputs": {
            target.name: {"tokens": target.tokens.folder.name, "sources": list(target.sources)}
            for target in plan.targets
        },
        "stages": {
            stage.folder.name: {
                "name": stage.name,
                "settings": stage.settings,
                "inputs": [read.folder.name for read in stage.inputs],
            }
            for stage in plan.stages()
            if stage.at is None
        },
    }
    folder = plan.out / RECIPES
    write_if_changed(folder / f"{plan.recipe.name}.yaml", text.encode())
    write_if_changed(
        folder / f"{plan.recipe.name}.json", json.dumps(facts, indent=1).encode() + b"\n"
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe as YAML holds it: what differs from the defaults, logins of endpoints left out."""
    found: dict[str, Any] = _plain(recipe.model_dump(by_alias=True, exclude_defaults=True))
    if recipe.curate:
        found["curate"] = [_entry(step) for step in recipe.curate]
    if recipe.engine_ and recipe.engine_.endpoints:
        found["engine"]["endpoints"] = [_LOGIN.sub("//", e) for e in recipe.engine_.endpoints]
    return found


def _entry(step: CurationStep) -> dict[str, Any]:
    scope = {"only": list(step.only), "except": list(step.except_)}
    return {step.filter: _plain({**step.knobs, **{k: v for k, v in scope.items() if v}})}


def _plain(value: Any) -> Any:
    """YAML's safe form knows no tuples."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
