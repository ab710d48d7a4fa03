"""The newest build of OUT as the page wants it, from what `flows.storing` left there."""

from pathlib import Path
from typing import Any

import yaml

from data.errors import RecipeError, SourceError
from flows.stored import read_builds


def read_record(out: Path) -> dict[str, Any]:
    """Raises SourceError where OUT holds no finished build."""
    try:
        build = read_builds(out)[0]
    except RecipeError as error:
        raise SourceError(error.what, where=error.where, fix=error.fix) from None
    if not (out / "funnel.csv").is_file():
        raise SourceError(
            "holds no finished build (funnel.csv)", where=str(out), fix="run its recipe to the end"
        )
    recipe = yaml.safe_load(build.recipe_file.read_text(encoding="utf-8"))
    facts = build.facts
    return {
        "recipe": recipe,
        "model": recipe["engine"]["model"] if recipe.get("generate") else None,
        "versions": facts["versions"],
        "sources": [
            {
                "name": name,
                "stages": [*map(_path, roles.values())],
                "samples": _path(roles["samples"]),
            }
            for name, roles in facts["sources"].items()
        ],
        "steps": [
            {
                "filter": step["filter"],
                "cleaner": step["cleans"],
                "verdicts": _path(step["stage"]),
            }
            for step in facts["steps"]
        ],
        "outputs": [
            {"name": name, "shards": f"shards/{name}", "sources": output["sources"]}
            for name, output in facts["outputs"].items()
        ],
        "recipe_file": build.recipe_file.relative_to(out).as_posix(),
    }


def _path(stage: str) -> str:
    return f"stages/{stage}"
