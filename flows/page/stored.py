"""A finished build as it lies in OUT, read column by column and some parts at a time."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import DamagedPart
from data.parts import MANIFEST, read_manifest
from flows.lookup import find
from flows.page.record import read_record
from flows.scanning import scan_parts
from flows.stored import StoredStage

Where = pl.Expr | None


class Stored:
    """Raises SourceError where OUT holds no build that was finished."""

    def __init__(self, out: Path) -> None:
        record = read_record(out)
        self.out = out
        self.record: dict[str, Any] = record
        self.recipe: dict[str, Any] = record["recipe"]
        self.sources: list[dict[str, Any]] = record["sources"]
        self.steps: list[dict[str, Any]] = record["steps"]
        self.outputs: list[dict[str, Any]] = record["outputs"]

    @property
    def seed(self) -> int:
        return int(self.recipe.get("seed", 0))

    @property
    def labels(self) -> list[str]:
        """The steps' names in the funnel."""
        return [f"{number} {step['filter']}" for number, step in enumerate(self.steps, 1)]

    @property
    def version(self) -> list[object]:
        """What changes whenever the page would, read in no time."""
        folders = [folder for source in self.sources for folder in source["stages"]]
        folders += [step["verdicts"] for step in self.steps]
        folders += [output["shards"] for output in self.outputs]
        accounts = [hashlib.sha256(json.dumps(run).encode()).hexdigest() for run in self.accounts]
        return [self.record, [self.manifest(folder)["manifest"] for folder in folders], accounts]

    def manifest(self, folder: str) -> dict[str, Any]:
        """Raises DamagedPart where the stage is not complete."""
        found = read_manifest(self.out / folder)
        if found is None:
            raise DamagedPart(self.out / folder / MANIFEST)
        return found

    @cached_property
    def parts(self) -> list[tuple[dict[str, Any], int]]:
        """Every sample part: its source and number there; verdict part n speaks of the n-th."""
        return [
            (source, part)
            for source in self.sources
            for part in range(self._count(source["samples"]))
        ]

    def _count(self, folder: str) -> int:
        files = (part["file"] for part in self.manifest(folder)["parts"])
        return sum(file.startswith("part-") for file in files)

    def samples(
        self, numbers: Sequence[int], columns: Sequence[str], where: Where = None
    ) -> pl.DataFrame:
        """Columns of sample parts, and `part`: the number of a row's part."""
        return self._scan([self._of_part(n, "part") for n in numbers], numbers, columns, where)

    def refused(
        self, numbers: Sequence[int], columns: Sequence[str], where: Where = None
    ) -> pl.DataFrame:
        """The verdicts that parsing gave, in the same form."""
        return self._scan([self._of_part(n, "verdicts") for n in numbers], numbers, columns, where)

    def of_step(
        self,
        step: int,
        table: str,
        numbers: Sequence[int],
        columns: Sequence[str],
        where: Where = None,
    ) -> pl.DataFrame:
        """A table of a filter's stage, in the same form."""
        folder = self.steps[step]["verdicts"]
        files = [self._file(folder, table, number) for number in numbers]
        return self._scan(files, numbers, columns, where)

    def _scan(
        self, files: list[Path], numbers: Sequence[int], columns: Sequence[str], where: Where
    ) -> pl.DataFrame:
        found = scan_parts(files, {name: pl.col(name) for name in columns}, where)
        parts = pl.Series(numbers, dtype=pl.UInt32).gather(found["place"])
        return found.select(columns).with_columns(parts.alias("part"))

    def _of_part(self, index: int, table: str) -> Path:
        source, part = self.parts[index]
        return self._file(source["samples"], table, part)

    def _file(self, folder: str, table: str, index: int) -> Path:
        return self.out / folder / f"{table}-{index:05d}.parquet"

    def places(self, ids: Iterable[int]) -> dict[int, int]:
        """The part in which each of these samples lies; one of an earlier build lies in none."""
        found: dict[int, int] = {}
        ranges, before = [(id, id) for id in sorted(ids)], 0
        for source in self.sources:
            stage = StoredStage(self.out / source["samples"], "", {}, ())
            rows = find(stage, ranges)
            found |= dict(rows.select("id", pl.col("part") + before).iter_rows())
            before += self._count(source["samples"])
        return found

    def csv(self, name: str, texts: Sequence[str]) -> pl.DataFrame:
        """One of OUT's tables; an empty frame where there is none."""
        path = self.out / name
        if not path.is_file() or not path.stat().st_size:
            return pl.DataFrame()
        return pl.read_csv(path, schema_overrides=dict.fromkeys(texts, pl.String))

    @cached_property
    def accounts(self) -> list[dict[str, Any]]:
        """What each run spent on generation; none where nothing was generated."""
        paths = sorted((self.out / "completions").glob("account-*.json"))
        return [json.loads(path.read_bytes()) for path in paths]

    @property
    def finished(self) -> str:
        """When the last shards were written, UTC."""
        paths = [self.out / output["shards"] / MANIFEST for output in self.outputs]
        newest = max(path.stat().st_mtime for path in paths)
        return datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d %H:%M UTC")
