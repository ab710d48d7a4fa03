"""Recipe files: found, read, overridden, checked; every error names its file and line."""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from data.errors import RecipeError, nearest
from data.templates import SUFFIXES, load_template
from filters import load_filter
from flows.filter_knobs import check_scores
from flows.inputs import check_draws
from flows.recipe import NAME, CurationStep, Recipe, make_knobs
from flows.resolving import anchored_recipe, offline_recipe, scaled_recipe
from prompts import load_kind

MOST_SOURCES = 256
"""A shard's source_ids are bytes."""
SHIPPED = Path(__file__).with_name("recipes")


class _Unique(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would keep the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def list_recipes() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find_recipe(name: str) -> Path:
    """A shipped name or a path. Raises RecipeError where neither exists."""
    path = SHIPPED / f"{name}.yaml"
    if re.fullmatch(NAME, name) and path.is_file():
        return path
    with contextlib.suppress(OSError, ValueError):  # too long for a path, a NUL in it
        if Path(name).is_file():
            return Path(name)
    raise RecipeError(
        f"no recipe {name!r}", fix=f"{nearest(name, list_recipes())} or give the path of a file"
    )


def load_recipe(
    name: str, overrides: Sequence[str] = (), scale: float = 1.0, *, offline: bool = False
) -> Recipe:
    """Read, override, validate and resolve; file paths in it become absolute. `offline` puts
    shipped samples in the place of hub sets.

    Raises RecipeError with the file and line of what is wrong.
    """
    path = find_recipe(name)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.load(text, Loader=_Unique)  # noqa: S506 - a SafeLoader
        json.dumps(data, ensure_ascii=False, default=str).encode()
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"cannot be read as YAML ({problem})", where=place) from error
    if not isinstance(data, dict):
        raise RecipeError("is not a mapping of keys", where=str(path))
    given: dict[tuple[str | int, ...], str] = {}
    for override in overrides:
        given[_override(data, override)] = f"--set {override}"

    def where(place: Sequence[str | int]) -> str:
        for end in range(len(place), 0, -1):
            if tuple(place[:end]) in given:
                return given[tuple(place[:end])]
        return f"{path}:{_line(tree, place)}"

    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise _explain(error, data, where) from None
    if offline:
        recipe = offline_recipe(recipe, where)
    recipe = anchored_recipe(recipe, path)
    _check(recipe, where)
    return scaled_recipe(recipe, scale, offline=offline)


def _override(data: dict[str, Any], override: str) -> tuple[str | int, ...]:
    """Put `a.b.0.c=value` into the raw recipe; the value is YAML."""
    dotted, equals, value = override.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"--set {override!r} is not of the form key.key=value")
    keys = dotted.split(".")
    place: list[str | int] = []
    at: Any = data
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(at, list):
            if not (key.isascii() and key.isdigit() and int(key) < len(at)):
                raise RecipeError(f"--set {override!r}: there is no item {key!r}")
            place.append(int(key))
        elif isinstance(at, dict):
            place.append(key)
        else:
            raise RecipeError(f"--set {override!r}: {keys[number - 1]!r} holds no keys")
        if not last:
            found = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
            if found is None and isinstance(at, dict):
                found = at[key] = {}
            at = found
    try:
        parsed = yaml.safe_load(value)
        json.dumps(parsed, ensure_ascii=False, default=str).encode()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML") from error
    at[place[-1]] = parsed
    return tuple(place)


def _line(tree: Any, place: Sequence[str | int]) -> int:
    """The line of the deepest node on the way to `place` that the file has."""
    node: Any = tree
    line: int = tree.start_mark.line + 1
    for key in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                continue  # a name that validation made up, such as `knobs`
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
            if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
                node = node.value[0][1]
    return line


def _explain(error: ValidationError, data: Any, where: Any) -> RecipeError:
    first = error.errors()[0]
    place = tuple(key for key in first["loc"] if key not in ("[key]",))
    dotted = ".".join(str(key) for key in place)
    if first["type"] == "extra_forbidden":
        inside = f" in {'.'.join(map(str, place[:-1]))}" if place[:-1] else ""
        return RecipeError(
            f"unknown key {str(place[-1])!r}{inside}",
            where=where(place),
            fix=nearest(str(place[-1]), _known(place[:-1])),
        )
    if first["type"] == "missing":
        return RecipeError(f"{dotted} is missing", where=where(place[:-1]))
    return RecipeError(f"{dotted}: {first['msg']}", where=where(place))


def _known(place: Sequence[str | int]) -> list[str]:
    """The keys that the model at `place` has."""
    model: Any = Recipe
    for key in place:
        fields = getattr(model, "model_fields", {})
        found = fields.get(str(key)) or fields.get(f"{key}_")
        kind = found.annotation if found else model
        inner = [arg for arg in getattr(kind, "__args__", ()) if hasattr(arg, "model_fields")]
        model = inner[0] if inner else kind
    fields = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _check(recipe: Recipe, where: Any) -> None:
    """What the models alone cannot tell: kinds, filters, templates, knobs, sources."""
    if not recipe.names:
        raise RecipeError("nothing to build from", where=where(()), fix="add generate or corpora")
    if recipe.generate:
        with _at(where(())):
            _ = recipe.engine
    if len(recipe.names) > MOST_SOURCES:
        raise RecipeError(f"has more than {MOST_SOURCES} sources", where=where(()))
    for name in recipe.corpora:
        place: tuple[str | int, ...] = ("corpora", name)
        if not re.fullmatch(NAME, name):
            raise RecipeError(f"corpus name {name!r} must match {NAME}", where=where(place))
        if name in recipe.generate:
            raise RecipeError(f"{name!r} is generated and a corpus", where=where(place))
    for name, source in recipe.generate.items():
        place = ("generate", name)
        if not re.fullmatch(NAME, name):
            raise RecipeError(f"source name {name!r} must match {NAME}", where=where(place))
        with _at(where((*place, "kind"))):
            kind = load_kind(source.kind)
        with _at(where((*place, "seeds", "from"))):
            _check_chain(recipe, name)
        with _at(where((*place, "knobs"))):
            make_knobs(kind, source.knobs, source.kind)
        with _at(where((*place, "vary"))):
            check_draws(source, kind)
    for index, step in enumerate(recipe.curate):
        with _at(where(("curate", index))):
            judge = make_knobs(load_filter(step.filter), step.knobs, step.filter)
            _check_scope(recipe, step)
            check_scores(recipe, judge)
    for name, output in recipe.outputs.items():
        if not re.fullmatch(NAME, name):
            raise RecipeError(f"output name {name!r} must match {NAME}", where=where(("outputs",)))
        template = output.render.template
        if not template.endswith(SUFFIXES):
            with _at(where(("outputs", name, "render", "template"))):
                load_template(template)
        _check_mix(recipe, name, where)


def _check_mix(recipe: Recipe, name: str, where: Any) -> None:
    trained = [key for key, source in recipe.generate.items() if load_kind(source.kind).TRAINS]
    trained += recipe.corpora
    if not trained:
        raise RecipeError("no source but judges to train on", where=where(("outputs", name)))
    for source in recipe.outputs[name].mix:
        if source not in trained:
            what = "a judge" if source in recipe.generate else "no source"
            place, fix = where(("outputs", name, "mix", source)), nearest(source, trained)
            raise RecipeError(f"the mix names {what}: {source!r}", where=place, fix=fix)


def _check_scope(recipe: Recipe, step: CurationStep) -> None:
    kinds = (load_kind(source.kind) for source in recipe.generate.values())
    tags = [*(kind.TAG for kind in kinds), *(corpus.tag for corpus in recipe.corpora.values())]
    known = {*recipe.names, *(tag for tag in tags if tag)}
    for name in (*step.only, *step.except_):
        if name not in known:
            raise RecipeError(
                f"{step.filter} names no source or tag: {name!r}", fix=nearest(name, known)
            )


def _check_chain(recipe: Recipe, name: str) -> None:
    """Follow `seeds: {from: ...}` to a file or a corpus."""
    seen = [name]
    while (before := recipe.generate[seen[-1]].seeds.from_) is not None:
        if before in recipe.corpora:
            return
        if before not in recipe.generate:
            raise RecipeError(
                f"seeds come from no source: {before!r}", fix=nearest(before, recipe.names)
            )
        if before in seen:
            raise RecipeError(f"seeds come from each other: {' < '.join([*seen, before])}")
        seen.append(before)


class _at:
    """Give a RecipeError without a place the place in the recipe."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RecipeError) and not error.where:
            raise RecipeError(error.what, where=self._where, fix=error.fix) from None
