"""The tables of a build as polars sees them: a stage's parts, samples beside their verdicts."""

from pathlib import Path
from typing import Any

import polars as pl

from data import schema
from data.errors import RecipeError, SourceError
from data.parts import read_manifest
from data.schema import show_id
from flows.inspection import Ask, filtered
from flows.stored import RECIPES, StoredBuild, StoredStage, read_builds, role_of

Facts = dict[str, Any]
_VERDICT = ("filter", "reason", "figures")


def stage_at(folder: Path) -> StoredStage:
    """A folder under OUT/stages as its build knows it, or else by its manifest and name."""
    out = folder.parent.parent
    for build in read_builds(out) if (out / RECIPES).is_dir() else ():
        if folder.name in build.facts["stages"]:
            return build.stage(folder.name)
    manifest = read_manifest(folder) or {}
    name = folder.name.rpartition("-")[0]
    inputs = tuple(manifest.get("inputs", ()))
    return StoredStage(folder, name, manifest.get("settings", {}), inputs)


def state(stage: StoredStage) -> str:
    if stage.manifest is not None:
        return "done"
    return "in progress, no manifest yet" if stage.files() else "not begun"


def stage_frame(stage: StoredStage) -> pl.LazyFrame:
    """A stage's parts; verdicts with the samples that they are of, samples with what parsing
    said of them."""
    parts = _scan(stage.files())
    role = role_of(stage.name)
    if role == "samples":
        return _with_verdicts(parts, _scan(stage.files("verdicts")))
    read = [stage_at(stage.path.with_name(name)) for name in stage.inputs]
    samples = [_scan(s.files()) for s in read if role_of(s.name) == "samples" and s.files()]
    if role == "verdicts" and samples:
        return parts.join(pl.concat(samples), on="id", how="left", maintain_order="left")
    return parts


def build_frame(build: StoredBuild) -> pl.LazyFrame:
    """All samples of a build, as parsing left them; `filter` and `reason` where one fell."""
    samples, verdicts = [], []
    for source in build.facts["sources"]:
        stage = build.of(source, "samples")
        if stage is not None and stage.files():
            samples.append(_scan(stage.files()))
            verdicts += [_scan([path]) for path in stage.files("verdicts")]
    if not samples:
        raise SourceError(
            "holds no samples yet", where=str(build.out), fix="give one of its stages"
        )
    for step in build.facts["steps"]:
        verdicts += [_scan([path]) for path in build.stage(step["stage"]).files()]
    return _with_verdicts(pl.concat(samples), pl.concat(verdicts))


def file_frame(path: Path) -> pl.LazyFrame:
    return _scan([path])


def _scan(files: list[Path]) -> pl.LazyFrame:
    if not files:
        return pl.LazyFrame(schema=dict.fromkeys(schema.VERDICTS.names, pl.String)).cast(
            {"id": pl.UInt64}
        )
    if files[0].suffix == ".parquet":
        return pl.scan_parquet(files, glob=False)
    return pl.scan_ipc(files, glob=False)


def _with_verdicts(samples: pl.LazyFrame, verdicts: pl.LazyFrame) -> pl.LazyFrame:
    named = verdicts.select("id", *_VERDICT)
    return samples.join(named, on="id", how="left", maintain_order="left")


def only_rejected(frame: pl.LazyFrame, reason: str | None, place: Path) -> pl.LazyFrame:
    """Raises RecipeError for a table without verdicts, or for a reason that nobody has."""
    if "reason" not in frame.collect_schema():
        raise RecipeError(
            "has no verdicts",
            where=str(place),
            fix="--rejected takes a build, or its samples or verdicts stage",
        )
    fallen = frame.filter(pl.col("reason").is_not_null())
    if reason is None:
        return fallen
    known = fallen.select(pl.col("reason").unique().sort()).collect()["reason"].to_list()
    if reason not in known:
        fix = f"there are {', '.join(known)}" if known else "none fell"
        raise RecipeError(f"no sample fell for {reason!r}", where=str(place), fix=fix)
    return fallen.filter(pl.col("reason") == reason)


def table_facts(frame: pl.LazyFrame, ask: Ask, place: Path) -> Facts:
    """Schema, counts and the rows to show of what matches."""
    if ask.where is not None:
        frame = filtered(frame, ask.where, place)
    try:
        names = frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecipeError("is no Arrow or Parquet file", where=str(place)) from error
    labels = ("source", "tag", "filter", "reason")
    keys = [name for name in labels if names.get(name) == pl.String]
    sums = {"rows": pl.len()}
    if "tokens" in names:
        sums["tokens"] = pl.col("tokens").sum()
    groups = frame.group_by(keys).agg(**sums).sort(keys).collect().to_dicts() if keys else []
    key = "id" if "id" in names else names.names()[0]
    ids = frame.select(key).collect()[key]
    chosen = ids.gather(ask.choose(len(ids)))
    rows = frame.filter(pl.col(key).is_in(chosen.implode())).collect().head(ask.rows)
    return {
        "schema": {name: str(kind) for name, kind in names.items()},
        "rows": len(ids),
        "groups": groups,
        "shown": [_readable(row) for row in rows.to_dicts()],
    }


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    ids = {name: show_id(row[name]) for name in ("id", "seed_id") if isinstance(row.get(name), int)}
    return row | ids


def tokenizer_name(build: StoredBuild, stage: StoredStage) -> str | None:
    """The output whose tokens a stage holds."""
    outputs = build.facts["outputs"].items()
    return next((name for name, o in outputs if o["tokens"] == stage.path.name), None)
