"""The knobs of a recipe's filters that name files and sources."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from data import ROOT, remote, schema
from data.errors import RecipeError, nearest
from data.places import is_url
from filters import Judge, load_filter
from flows.recipe import CurationStep, Recipe, make_knobs


def check_scores(recipe: Recipe, judge: Judge) -> None:
    """Raises RecipeError where a score comes from no source or no numeric column."""
    asked = judge.scores()
    if asked is None:
        return
    numeric = [field.name for field in schema.SAMPLES if pa.types.is_primitive(field.type)]
    if asked.from_ is None and asked.column not in numeric:
        raise RecipeError(
            f"no numeric column of samples: {asked.column!r}", fix=nearest(asked.column, numeric)
        )
    if asked.from_ is not None and asked.from_ not in recipe.generate:
        raise RecipeError(
            f"scores come from no source: {asked.from_!r}",
            fix=nearest(asked.from_, recipe.generate),
        )


def anchored_step(step: CurationStep, path: Path, number: int) -> CurationStep:
    """The step with its files beside the recipe, here or in the project made absolute."""

    def find(name: str) -> str:
        if is_url(name) and remote.find(name)[1]:
            return name
        with contextlib.suppress(OSError, ValueError):
            for base in (path.resolve().parent, Path.cwd(), ROOT):
                if (base / name).exists():
                    return str((base / name).resolve())
        raise RecipeError(
            f"{name} does not exist",
            where=f"{path}, curate.{number}.{step.filter}",
            fix="give its path from the recipe, from here or from the project's root",
        )

    return _changed(step, lambda judge: judge.anchored(find))


def offline_step(step: CurationStep) -> CurationStep:
    """The step with shipped files in place of what it would read from the hub."""
    return _changed(step, lambda judge: judge.offline())


def _changed(step: CurationStep, change: Callable[[Judge], Judge]) -> CurationStep:
    try:
        judge = make_knobs(load_filter(step.filter), step.knobs, step.filter)
    except RecipeError:  # said with its line by the checks that follow
        return step
    changed = change(judge)
    if changed == judge:
        return step
    knobs = changed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return step.model_copy(update={"knobs": knobs})
