"""What generation will cost, from what an earlier build or a pilot under the same OUT showed.

A source's replies are taken to be as long as those of the newest completions stage of its name;
where there is none, as long as the recipe's `expect_tokens` says, or at most `max_tokens`.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from data.parts import read_manifest, write_file
from data.store import fetch_all
from flows.plan import Plan, ReadSource, Source, Target

SURE = 2.58
"""Standard errors on either side of a mean: 99 % of means lie within."""
SPREAD = 0.1
"""Share by which a recipe's own figure may be off."""


@dataclass(frozen=True)
class Observed:
    """Of one source's replies: rows looked at, and means a row. `spread` is the standard
    deviation of completion tokens."""

    rows: int
    requests: float
    prompt_tokens: float
    completion_tokens: float
    spread: float


@dataclass(frozen=True)
class Estimate:
    """Of one source. `low` and `high` bound the completion tokens still to be generated; `basis`
    says where they come from. `kept` is the share of rows that curation keeps, 1 if unknown."""

    source: str
    kind: str
    samples: int
    to_ask: int
    requests: int
    prompt_tokens: int | None
    completion_tokens: int
    low: int
    high: int
    kept: float
    basis: str
    tokens: float
    """Of all its kept samples, those that are there already too."""


@dataclass(frozen=True)
class Total:
    """Of a build; seconds, hours and money are None where no rate is known. `rate` is in
    completion tokens a second of all servers together."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    low: int
    high: int
    rate: float | None
    rate_basis: str
    seconds: float | None
    gpus: int
    gpu_hours: float | None
    money: float | None


def estimate(plan: Plan) -> list[Estimate]:
    kept = kept_shares(plan.out)
    return [_estimate(plan, source, kept.get(source.name, 1.0)) for source in plan.generated]


def _estimate(plan: Plan, source: Source, kept: float) -> Estimate:
    wanted = source.settings.samples
    there = source.completions.manifest is not None  # the record has what a lost part held
    to_ask = 0 if there else max(0, wanted - recorded(plan.out, source))
    seen = observe(plan.out, source)
    expected = source.settings.expect_tokens
    if seen is not None:
        mean, requests, basis = seen.completion_tokens, seen.requests, f"{seen.rows:,} rows here"
        off = SURE * seen.spread * math.sqrt(1 / max(1, seen.rows) + 1 / max(1, to_ask))
        low, high = max(0.0, mean - off), mean + off
    elif expected is not None:
        mean, requests, basis = expected, 1.0, "the recipe"
        low, high = mean * (1 - SPREAD), mean * (1 + SPREAD)
    else:
        most = source.sampling.max_tokens
        mean, requests, basis, low, high = float(most), 1.0, "max_tokens", 0.0, float(most)
    return Estimate(
        source.name,
        source.settings.kind,
        wanted,
        to_ask,
        round(to_ask * requests),
        None if seen is None else round(to_ask * seen.prompt_tokens),
        round(to_ask * mean),
        round(to_ask * low),
        round(to_ask * high),
        kept,
        basis,
        mean * wanted * kept,
    )


def output_tokens(plan: Plan, estimates: list[Estimate]) -> dict[str, int | None]:
    """Training tokens of each output as its mix takes them; None where a corpus says neither
    by its samples nor by `expect` how large it is."""
    there: dict[str, float | None] = {one.source: one.tokens for one in estimates}
    there |= {corpus.name: _corpus_tokens(plan.out, corpus) for corpus in plan.read}
    return {target.name: _made(target) or _mixed(target, there) for target in plan.targets}


def _made(target: Target) -> int | None:
    """What its shards hold, where they are there."""
    if not target.shards.done:
        return None
    splits = (target.shards.manifest or {"splits": {}})["splits"]
    return sum(int(counts["tokens"]) for counts in splits.values())


def _mixed(target: Target, there: dict[str, float | None]) -> int | None:
    fixed, shares = 0.0, 0.0
    for name in target.sources:
        mix = target.settings.mix.get(name)
        size = there[name]
        if mix is not None and mix.tokens is not None:
            fixed += mix.tokens
        elif mix is not None and mix.share is not None:
            shares += mix.share
        elif size is None:
            return None
        else:
            fixed += size * (1.0 if mix is None or mix.repeat is None else mix.repeat)
    return round(fixed / (1 - shares)) if shares < 1 else None


def _corpus_tokens(out: Path, corpus: ReadSource) -> float | None:
    if corpus.samples.done:
        files = fetch_all(corpus.samples.folder, "part-*.parquet")
        counted = _table(pl.scan_parquet(files).select(pl.col("tokens").cast(pl.Int64).sum()))
        return (
            None
            if counted is None
            else float(counted.item()) * kept_shares(out).get(corpus.name, 1.0)
        )
    expect, limit = corpus.settings.expect, corpus.settings.limit
    if expect.tokens is None:
        return None
    share = min(1.0, limit / expect.rows) if limit and expect.rows else 1.0
    return expect.tokens * share


def _table(query: pl.LazyFrame) -> pl.DataFrame | None:
    """None where a file is damaged: the build mends it, an estimate goes without."""
    try:
        return query.collect()
    except (pl.exceptions.PolarsError, OSError):
        return None


def observe(out: Path, source: Source) -> Observed | None:
    """Replies of the newest completions stage of the source's name, finished or not."""
    for folder in _newest(out, source.completions.name):
        files = fetch_all(folder, "part-*.parquet")
        if not files:
            continue
        asked = pl.scan_parquet(files).filter(pl.col("error").is_null())
        query = asked.select(
            rows=pl.len(),
            requests=pl.col("keys").list.len().mean(),
            prompt_tokens=pl.col("prompt_tokens").cast(pl.Float64).mean(),
            completion_tokens=pl.col("completion_tokens").cast(pl.Float64).mean(),
            spread=pl.col("completion_tokens").cast(pl.Float64).std(),
        )
        found = _table(query)
        (row,) = found.to_dicts() if found is not None else ({"rows": 0},)
        if row["rows"]:
            return Observed(**{**row, "spread": row["spread"] or 0.0})
    return None


def recorded(out: Path, source: Source) -> int:
    """Rows whose completions are there already: of the stage itself, or of one that differs in
    the number of samples alone, whose requests are the same."""
    most = 0
    for folder in _newest(out, source.completions.name):
        manifest = read_manifest(folder)
        if folder != source.completions.folder and (
            manifest is None or not _same_requests(out, manifest, source)
        ):
            continue
        files = fetch_all(folder, "part-*.parquet")
        counted = _table(pl.scan_parquet(files).select(pl.len())) if files else None
        most = max(most, 0 if counted is None else int(counted.item()))
    return most


def _same_requests(out: Path, manifest: dict[str, Any], source: Source) -> bool:
    if manifest["settings"] != _plain(source.completions.settings):
        return False
    for name in manifest["inputs"]:
        prompts = read_manifest(out / "stages" / name)
        if prompts is None or prompts["inputs"] != [
            f"{stage.name}-{stage.hash}" for stage in source.prompts.inputs
        ]:
            return False
        before, now = dict(prompts["settings"]), _plain(source.prompts.settings)
        for free in ("samples", "part_rows"):
            before.pop(free, None)
            now.pop(free, None)
        if before != now:
            return False
    return True


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain


def _newest(out: Path, name: str) -> list[Path]:
    folders = [folder for folder in (out / "stages").glob(f"{name}-*") if folder.is_dir()]
    folders = [folder for folder in folders if folder.name.rpartition("-")[0] == name]
    return sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)


def kept_shares(out: Path) -> dict[str, float]:
    """Of each source, the share of rows that the last whole build kept."""
    path = out / "funnel.csv"
    if not path.is_file():
        return {}
    table = _table(pl.scan_csv(path, infer_schema=False).cast({"rows": pl.Int64}))
    if table is None:
        return {}
    rows = table.group_by("source").agg(
        asked=pl.col("rows").filter(pl.col("stage") == "asked").sum(),
        kept=pl.col("rows").filter(pl.col("stage") == "kept").sum(),
    )
    return {row["source"]: row["kept"] / row["asked"] for row in rows.to_dicts() if row["asked"]}


def total(plan: Plan, estimates: list[Estimate], gpus: int) -> Total:
    """`gpus` are those that the build would launch servers on; 0 for endpoints or a CPU."""
    engine = plan.recipe.engine
    tokens = sum(one.completion_tokens for one in estimates)
    prompts = sum(one.prompt_tokens or 0 for one in estimates)
    rate, basis = measured_rate(plan.out), "measured here"
    if rate is None and engine.tokens_per_second is not None:
        rate, basis = engine.tokens_per_second * max(1, gpus), "stated in the recipe"
    seconds = tokens / rate if rate else None
    hours = None if seconds is None else seconds / 3600 * max(1, gpus)
    price = engine.price
    money = tokens / 1e6 * price.completion + prompts / 1e6 * price.prompt
    money += (hours or 0) * price.gpu_hour
    return Total(
        sum(one.requests for one in estimates),
        prompts,
        tokens,
        sum(one.low for one in estimates),
        sum(one.high for one in estimates),
        rate,
        basis if rate else "unknown",
        seconds,
        gpus,
        hours,
        money if any(price.model_dump().values()) else None,
    )


def measured_rate(out: Path) -> float | None:
    """Completion tokens a second of the last run under OUT that generated anything."""
    for path in sorted((out / "completions").glob("account-*.json"), reverse=True):
        run = json.loads(path.read_bytes())
        tokens = sum(facts["completion_tokens"] for facts in run["sources"].values())
        if tokens and run["spent"]["hours"] > 0:
            return float(tokens / (run["spent"]["hours"] * 3600))
    return None


def store(path: Path, estimates: list[Estimate]) -> None:
    """Beside the build, so that a later `plan` can hold it against what came."""
    content = {one.source: asdict(one) for one in estimates if one.to_ask}
    if content:
        write_file(path, json.dumps(content, indent=1).encode() + b"\n")
