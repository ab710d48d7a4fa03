"""What OUT knows of the builds in it: each recipe as it was resolved, its versions and stages.

A build stores `OUT/recipes/NAME.yaml`, which `shardmill run` takes again, and beside it
`NAME.json`: versions, sources, filters, outputs, and the settings and inputs of every stage. So
questions about a build are answered from OUT alone, while it runs too, when a stage has no
manifest yet. A later build of the same name takes its place.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import RecipeError
from data.parts import read_manifest
from data.store import fetch, fetch_all, is_there, open_path

RECIPES = "recipes"


def role_of(stage: str) -> str:
    """`samples` of `samples.books`."""
    return stage.partition(".")[0]


@dataclass(frozen=True)
class StoredStage:
    """A stage's folder as it rests, with a manifest or without."""

    path: Path
    name: str
    settings: dict[str, Any]
    inputs: tuple[str, ...]

    @property
    def manifest(self) -> dict[str, Any] | None:
        return read_manifest(self.path)

    def files(self, table: str = "part") -> list[Path]:
        """The parts of a table, in order; of a stage under way those that are there."""
        return fetch_all(self.path, f"{table}-[0-9]*.*")

    def file(self, part: int, table: str = "part") -> Path | None:
        names = (f"{table}-{part:05d}.{suffix}" for suffix in ("parquet", "arrow"))
        there = (self.path / name for name in names if is_there(self.path / name))
        return next(map(fetch, there), None)


@dataclass(frozen=True)
class StoredBuild:
    """The last build of one recipe under OUT; `facts` are what `store_build` wrote."""

    out: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.facts["recipe"])

    @property
    def recipe_file(self) -> Path:
        return self.out / RECIPES / f"{self.name}.yaml"

    def stage(self, folder: str) -> StoredStage:
        known = self.facts["stages"][folder]
        path = self.out / "stages" / folder
        return StoredStage(path, known["name"], known["settings"], tuple(known["inputs"]))

    def of(self, source: str, role: str) -> StoredStage | None:
        """A source's stage; None where it has none such, as prompts of a corpus."""
        folder = self.facts["sources"][source].get(role)
        return self.stage(folder) if folder else None

    def sample_parts(self) -> Iterator[tuple[str, int]]:
        """All sample parts in their order: verdict and token part n speak of the n-th."""
        for source in self.facts["sources"]:
            stage = self.of(source, "samples")
            for part in range(len(stage.files()) if stage else 0):
                yield source, part

    def place(self, source: str, part: int) -> int:
        """The number of a sample part among all of the build."""
        counted = 0
        for name in self.facts["sources"]:
            if name == source:
                break
            stage = self.of(name, "samples")
            counted += len(stage.files()) if stage else 0
        return counted + part


def find_out(path: Path) -> Path:
    """The build's folder that `path` is or lies in. Raises RecipeError where it is in none."""
    whole = open_path(path).resolve()
    for folder in (whole, *whole.parents):
        if (folder / RECIPES).is_dir() and (folder / "stages").is_dir():
            return folder
    raise RecipeError(
        "is no build's folder",
        where=str(path),
        fix="give the --out of a build, such as runs/demo; of an older one run its recipe again",
    )


def read_builds(out: Path) -> list[StoredBuild]:
    """The last build of each recipe under OUT, first that of the recipe that changed last. Raises
    RecipeError where there is none."""
    files = sorted(out.glob(f"{RECIPES}/*.json"), key=lambda path: -path.stat().st_mtime_ns)
    builds = []
    for path in files:
        try:
            builds.append(StoredBuild(out, json.loads(path.read_bytes())))
        except ValueError as error:
            raise RecipeError(
                f"is no JSON ({error})", where=str(path), fix="run the recipe again"
            ) from error
    if not builds:
        raise RecipeError(
            "holds no recipe", where=str(out), fix="run the build again: nothing is made twice"
        )
    return builds
