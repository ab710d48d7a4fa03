"""What a source of a recipe reads: its seed files, and the knob values under `vary`.

`vary` maps a knob to a list (equal shares), to `value: share`, or to {file: a word a line}. Under
`cross` stands such a mapping again, or a list of them: its knobs are drawn together, so that
each combination gets its exact share, the product of its values' shares.
"""

import contextlib
import copy
import glob
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from data import ROOT, remote
from data.errors import RecipeError
from data.places import is_url, parse
from flows.corpus_recipe import Reading
from flows.draws import Draw
from flows.recipe import Generate, make_knobs
from prompts import TaskKind

R = TypeVar("R", bound=Reading)
CROSS = "cross"
FINEST = 10**9
"""Shares are whole numbers of this many at most."""


def read_draws(vary: dict[str, Any]) -> list[Draw]:
    """The draws of a recipe's `vary`. Raises RecipeError for one of no known form."""
    draws = []
    for knob, choices in vary.items():
        if knob != CROSS:
            draws.append(_draw(knob, choices))
            continue
        crosses = choices if isinstance(choices, list) else [choices]
        for cross in crosses:
            if not isinstance(cross, dict) or not cross:
                raise RecipeError(
                    f"vary.{CROSS} takes a mapping of knobs, or a list of such mappings",
                    fix=f"write {CROSS}: {{audience: [college, general], style: [academic]}}",
                )
            draws.append(_crossed([_draw(name, values) for name, values in cross.items()]))
    names = [name for draw in draws for name in draw.knobs]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"vary draws the knob {name!r} twice")
    return draws


def check_draws(source: Generate, kind: type[TaskKind]) -> None:
    """Raises RecipeError where the kind does not take a value that rows may draw."""
    for draw in read_draws(source.vary):
        for values in draw.values:
            drawn = dict(zip(draw.knobs, values, strict=True))
            make_knobs(kind, {**source.knobs, **drawn}, source.kind)


def _word_files(vary: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The {file: ...} entries, which the caller may change in place."""
    crosses = vary.get(CROSS, [])
    for group in (vary, *(crosses if isinstance(crosses, list) else [crosses])):
        for choices in group.values() if isinstance(group, dict) else ():
            if isinstance(choices, dict) and isinstance(choices.get("file"), str):
                yield choices


def _draw(knob: str, choices: Any) -> Draw:
    shares: dict[Any, Any]
    if isinstance(choices, dict) and isinstance(choices.get("file"), str):
        if len(choices) > 1:
            raise RecipeError(f"vary.{knob}: beside file stands {list(choices)[1]!r}")
        shares = dict.fromkeys(_words(knob, remote.local(choices["file"])), 1)
    elif isinstance(choices, dict):
        shares = choices
    elif isinstance(choices, list):
        if any(isinstance(value, (list, dict)) for value in choices):
            raise RecipeError(f"vary.{knob} takes texts and numbers")
        shares = dict(Counter(choices))
    else:
        raise RecipeError(
            f"vary.{knob} takes a list, value: share, or {{file: a word a line}}",
            fix=f"write {knob}: [{choices}]",
        )
    wrong = [share for share in shares.values() if not _is_share(share)]
    if wrong or not any(shares.values()):
        problem = f"share {wrong[0]!r} is no finite number of 0 or more" if wrong else "no share"
        raise RecipeError(f"vary.{knob} has {problem}" if not wrong else f"vary.{knob}: {problem}")
    kept = {value: share for value, share in shares.items() if share}
    return Draw((knob,), tuple((value,) for value in kept), _whole(list(kept.values())))


def _is_share(share: Any) -> bool:
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    return number and math.isfinite(share) and share >= 0


def _words(knob: str, path: Path) -> list[str]:
    try:
        lines = remote.here(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise RecipeError(f"vary.{knob}: {path} cannot be read ({error})") from error
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise RecipeError(f"vary.{knob}: {path} holds no words")
    return words


def _crossed(draws: list[Draw]) -> Draw:
    knobs = tuple(knob for draw in draws for knob in draw.knobs)
    values = itertools.product(*([value for (value,) in draw.values] for draw in draws))
    weights = itertools.product(*(draw.weights for draw in draws))
    return Draw(knobs, tuple(values), _whole([math.prod(each) for each in weights]))


def _whole(shares: list[int | float]) -> tuple[int, ...]:
    """The shares as whole numbers, rounded where their exact sum would be above FINEST."""
    if len(set(shares)) == 1:
        return (1,) * len(shares)
    exact = [Fraction(str(share)) for share in shares]
    common = math.lcm(*(share.denominator for share in exact))
    weights = [int(share * common) for share in exact]
    divisor = math.gcd(*weights)
    weights = [weight // divisor for weight in weights]
    total = sum(weights)
    if total > FINEST:
        weights = [max(1, round(Fraction(weight * FINEST, total))) for weight in weights]
    return tuple(weights)


def anchored(source: Generate, path: Path, place: str) -> Generate:
    """The source with the paths of its seeds and words made absolute. Raises RecipeError where
    one does not exist."""
    vary = copy.deepcopy(source.vary)
    seeds = anchored_rows(source.seeds, path, f"{place}.seeds")
    for choices in _word_files(vary):
        choices["file"] = find_input(choices["file"], path, f"{path}, {place}.vary")
    return source.model_copy(update={"seeds": seeds, "vary": vary})


def anchored_rows(rows: R, path: Path, place: str) -> R:
    """The seeds or the corpus with its path made absolute. Raises RecipeError where a file does
    not exist."""
    if rows.file is not None:
        found = find_input(rows.file, path, f"{path}, {place}.file")
        return rows.model_copy(update={"file": found})
    if rows.hub is None:
        return rows
    folders = [base / rows.hub for base in (path.resolve().parent, Path.cwd())]
    there = next((str(folder.resolve()) for folder in folders if folder.is_dir()), rows.hub)
    return rows.model_copy(update={"hub": there})


def find_input(name: str, recipe: Path, where: str) -> str:
    """A file, a folder or a glob beside the recipe, here or in the project, made absolute; or an
    address of an object store."""
    if is_url(name) and remote.find(name)[1]:
        return str(parse(name))
    with contextlib.suppress(OSError, ValueError):
        for base in (recipe.resolve().parent, Path.cwd(), ROOT):
            if (base / name).exists():
                return str((base / name).resolve())
            if set(name) & set("*?[") and glob.glob(str(base / name), recursive=True):
                return str(base / name)
    raise RecipeError(
        f"the file {name} does not exist",
        where=where,
        fix="give its path from the recipe, from here or from the project's root",
    )
