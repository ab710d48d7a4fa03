"""A finished build as it lies in OUT, read column by column and part by part."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import DamagedPart
from data.parts import MANIFEST, read_manifest
from data.store import fetch
from flows.page.record import read_record


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

    def samples(self, index: int, columns: Sequence[str]) -> pl.DataFrame:
        """Columns of the n-th sample part."""
        source, part = self.parts[index]
        return self._read(source["samples"], "part", part, columns)

    def refused(self, index: int, columns: Sequence[str]) -> pl.DataFrame:
        """Columns of the verdicts that parsing gave on the n-th sample part."""
        source, part = self.parts[index]
        return self._read(source["samples"], "verdicts", part, columns)

    def verdicts(self, step: int, index: int, columns: Sequence[str]) -> pl.DataFrame:
        return self._read(self.steps[step]["verdicts"], "part", index, columns)

    def changes(self, index: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """What each cleaner changed in the n-th sample part, in their order."""
        for step in self.steps:
            if step["cleaner"]:
                yield self._read(step["verdicts"], "changes", index, columns)

    def notes(self, step: int, index: int) -> pl.DataFrame:
        return self._read(self.steps[step]["verdicts"], "notes", index, None)

    def _read(
        self, folder: str, table: str, index: int, columns: Sequence[str] | None
    ) -> pl.DataFrame:
        path = fetch(self.out / folder / f"{table}-{index:05d}.parquet")
        try:
            found = pq.ParquetFile(path, page_checksum_verification=True)
            with found:
                return pl.DataFrame(found.read(None if columns is None else list(columns)))
        except (pa.ArrowException, OSError) as error:
            raise DamagedPart(path) from error

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
