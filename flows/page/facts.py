"""Everything that the page says, gathered from OUT: plain values, lists and frames' rows."""

import json
from typing import Any

import polars as pl
import yaml

from filters.texts import body
from flows.card import non_commercial
from flows.diversity import LOOKED_AT, opening
from flows.page.batches import AT_ONCE, batches
from flows.page.examples import Choice, Chosen
from flows.page.lengths import Lengths, bin_start
from flows.page.outputs import of_output
from flows.page.stored import Stored

FULL = 0.95
"""Fill of an output's rows below which the page says so."""
LOW_YIELD = 0.3
OPENINGS = 3
"""Of each source."""
MATCHES = 50
"""Rows of the contamination table."""
NOTES = ("id", "source", "benchmark", "item", "share", "matched")

Facts = dict[str, Any]


def gather(build: Stored) -> Facts:
    """What the page is made of; the same for the same OUT."""
    funnel = build.csv("funnel.csv", ["source", "tag", "stage", "filter", "reason"])
    outputs = [of_output(build, output) for output in build.outputs]
    counted, choice = Lengths(), Choice(build)
    for batch in batches(build):
        counted.add(batch)
        choice.add(batch)
    facts: Facts = {
        "name": build.recipe["name"],
        "seed": build.seed,
        "model": build.record["model"],
        "finished": build.finished,
        "totals": _totals(funnel),
        "stages": _stages(build, funnel),
        "sources": [source["name"] for source in build.sources],
        "tokens": _by_source_and_tag(funnel),
        "lengths": _lengths(counted.table()),
        "rejections": _rejections(choice.chosen(), funnel),
        "openings": _openings(build),
        "contamination": _contamination(build),
        "benchmarks": build.csv("contamination.csv", ["benchmark", "matched"]).to_dicts(),
        "decontaminated": any(step["filter"] == "decontaminate" for step in build.steps),
        "outputs": outputs,
        "generation": _generation(build),
        "recipe": yaml.safe_dump(build.recipe, sort_keys=False, allow_unicode=True, width=88),
        "versions": build.record["versions"],
        "recipe_file": build.record["recipe_file"],
    }
    return facts | {"warnings": _warnings(build, facts)}


def _sum(funnel: pl.DataFrame, stage: str) -> tuple[int, int]:
    rows = funnel.filter(pl.col("stage") == stage)
    return int(rows["rows"].sum()), int(rows["tokens"].sum())


def _totals(funnel: pl.DataFrame) -> Facts:
    asked, _ = _sum(funnel, "asked")
    kept, tokens = _sum(funnel, "kept")
    return {"asked": asked, "kept": kept, "tokens": tokens, "yield": kept / max(1, asked)}


def _stages(build: Stored, funnel: pl.DataFrame) -> list[Facts]:
    """What is left after each stage, in all and by source."""
    sources = [source["name"] for source in build.sources]
    left = {name: dict.fromkeys(sources, 0) for name in ("rows", "tokens")}
    there = set(funnel["stage"])
    order = [
        "asked",
        *(name for name in ("prompts", "read", "parse") if name in there),
        *build.labels,
    ]
    found = []
    for stage in order:
        here = funnel.filter(pl.col("stage") == stage).group_by("source")
        sign = 1 if stage == "asked" else -1
        lost = {"rows": 0, "tokens": 0}
        for source, rows, tokens in here.agg(pl.col("rows", "tokens").sum()).iter_rows():
            left["rows"][source] += sign * rows
            left["tokens"][source] += sign * tokens
            lost["rows"] += rows
            lost["tokens"] += tokens
        sums = {name: sum(of.values()) for name, of in left.items()}
        by_source = {name: dict(of) for name, of in left.items()}
        asked = stage == "asked"
        found.append(
            {
                "name": "asked" if asked else stage.partition(" ")[2] or stage,
                "lost": None if asked else lost,
                "left": sums,
                "by_source": by_source,
            }
        )
    return found


def _by_source_and_tag(funnel: pl.DataFrame) -> list[Facts]:
    sums = funnel.filter(pl.col("stage").is_in(["asked", "kept"])).group_by(
        "source", "tag", maintain_order=True
    )

    def of(stage: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("stage") == stage).sum().alias(f"{stage}_{column}")

    columns = [of(stage, name) for stage in ("asked", "kept") for name in ("rows", "tokens")]
    rows = sums.agg(columns).to_dicts()
    most = max((row["asked_tokens"] for row in rows), default=1) or 1
    return [
        row | {"share": row["kept_tokens"] / most, "lost": 1 - row["kept_tokens"] / most}
        | {"all": row["asked_tokens"] / most}
        for row in rows
    ]  # fmt: skip


def _lengths(table: pl.DataFrame) -> list[Facts]:
    """By bin of length, empty bins between others included."""
    if table.is_empty():
        return []
    counts = {number: (before, after) for number, before, after in table.iter_rows()}
    return [
        {"from": bin_start(n), "to": bin_start(n + 1), "before": before, "after": after}
        for n in range(min(counts), max(counts) + 1)
        for before, after in [counts.get(n, (0, 0))]
    ]


def _rejections(chosen: Chosen, funnel: pl.DataFrame) -> Facts:
    """Filters and reasons with their counts and examples, and the largest duplicate groups."""
    fallen = funnel.filter((pl.col("rows") > 0) & pl.col("filter").is_not_null())
    counts = (
        fallen.group_by("stage", "filter", "reason", maintain_order=True)
        .agg(pl.col("rows", "tokens").sum())
        .sort("rows", descending=True, maintain_order=True)
        .to_dicts()
    )
    most = max((row["rows"] for row in counts), default=1)
    reasons = []
    for row in counts:
        key = (row["stage"], row["filter"], row["reason"] or "")
        ids = chosen.reasons.get(key, [])
        examples = [_figured(chosen.shown[id]) for id in ids if id in chosen.shown]
        reasons.append(row | {"share": row["rows"] / most, "examples": examples})
    clusters = [
        {
            "filter": cluster.filter,
            "size": cluster.size,
            "kept": chosen.shown.get(cluster.kept),
            "members": [
                chosen.shown[id] | {"similarity": similarity}
                for id, similarity in cluster.members
                if id in chosen.shown
            ],
        }
        for cluster in chosen.clusters
    ]
    return {"reasons": reasons, "clusters": clusters}


def _figured(sample: Facts) -> Facts:
    """The sample with its verdict's figures as short pairs."""
    try:
        figures = json.loads(sample["figures"] or "{}")
    except ValueError:
        figures = {"figures": sample["figures"]}
    if not isinstance(figures, dict):
        figures = {"figures": figures}
    pairs = [(str(k), _short(v)) for k, v in figures.items() if v not in (None, "")]
    return sample | {"figures": pairs}


def _short(value: Any) -> str:
    shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
    return shown if len(shown) <= 200 else f"{shown[:200]} …"


def _openings(build: Stored) -> list[Facts]:
    """The commonest openings of each source, with what openings.csv says of collapse."""
    said = build.csv("openings.csv", ["source", "opening"])
    collapsed = dict(said.select("source", "collapsed").iter_rows()) if said.width else {}
    found = []
    for source in build.sources:
        texts = [pl.Series("body", [], dtype=pl.String)]
        for index, (of, _) in enumerate(build.parts):
            if of is source and sum(map(len, texts)) < LOOKED_AT:
                rows = build.samples([index], ["id", "text", "messages"])
                taken = rows.join(build.refused([index], ["id"]), on="id", how="anti")
                texts.append(body(taken))
        whole = pl.concat(texts).head(LOOKED_AT)
        counts = opening(whole).value_counts()
        top = counts.sort("count", "opening", descending=[True, False]).head(OPENINGS)
        for phrase, count in top.iter_rows():
            share = count / len(whole)
            row = {"source": source["name"], "opening": phrase, "count": count, "share": share}
            found.append(row | {"collapsed": bool(collapsed.get(source["name"])) and share > 0.1})
    return found


def _contamination(build: Stored) -> list[Facts]:
    """The best matches over all parts."""
    tables = []
    for number, step in enumerate(build.steps):
        if step["filter"] == "decontaminate":
            for first in range(0, len(build.parts), AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, len(build.parts)))
                notes = build.of_step(number, "notes", numbers, NOTES)
                order = notes.sort("share", "id", "item", descending=[True, False, False])
                tables.append(order.head(MATCHES))
    if not tables:
        return []
    whole = pl.concat(tables).sort("share", "id", "item", descending=[True, False, False])
    return [row | {"id": f"{row['id']:016x}"} for row in whole.head(MATCHES).to_dicts()]


def _generation(build: Stored) -> Facts:
    """What generation took over all runs, and its speed step by step."""
    runs, start = build.accounts, 0.0
    steps: list[Facts] = []
    for run in runs:
        seconds = run.get("seconds", run["spent"]["hours"] * 3600)
        timeline = run.get("timeline", {"seconds": 1.0, "steps": []})
        for number, (requests, tokens) in enumerate(timeline["steps"]):
            begin = number * timeline["seconds"]
            end = max(min(begin + timeline["seconds"], seconds), begin + 1e-3)
            rate = tokens / (end - begin)
            steps.append(
                {
                    "from": (start + begin) / 60,
                    "to": (start + end) / 60,
                    "requests": requests,
                    "tokens": tokens,
                    "rate": round(rate, 1),
                }
            )
        start += seconds
    totals = dict.fromkeys(("requests", "completion_tokens", "errors", "money"), 0.0)
    for run in runs:
        for facts in run["sources"].values():
            for name in totals:
                totals[name] += facts[name]
    return {"runs": len(runs), "seconds": start, "steps": steps, **totals}


def _warnings(build: Stored, facts: Facts) -> list[str]:
    """What to look at first, the gravest on top."""
    found = []
    for output in facts["outputs"]:
        limited = non_commercial(output["licences"])
        for source, given in limited.items():
            found.append(
                f"{output['name']} is not for commercial use: {source} is {', '.join(given)}"
            )
        train = output["splits"]["train"]
        if not train["rows"]:
            found.append(f"{output['name']} has no training rows")
        elif train["fill"] < FULL:
            found.append(f"{output['name']}: its training rows are {train['fill']:.0%} full")
    for row in facts["benchmarks"]:
        found.append(
            f"{row['samples']} samples hold items of {row['benchmark']} (the best match "
            f"{row['share']:.0%} of an item)"
        )
    for row in build.csv("openings.csv", ["source", "opening"]).to_dicts():
        if row["collapsed"]:
            found.append(
                f"{row['source']}: {row['share']:.0%} of {row['samples']} samples begin with "
                f"“{row['opening']}”: the template has collapsed"
            )
    low = [
        f"{row['source']} {row['kept_rows'] / row['asked_rows']:.0%}"
        for row in facts["tokens"]
        if row["asked_rows"] and row["kept_rows"] / row["asked_rows"] < LOW_YIELD
    ]
    if low:
        found.append(f"Little is kept of {', '.join(low)}")
    if facts["generation"]["errors"]:
        found.append(f"{facts['generation']['errors']:,.0f} requests failed for good")
    return found
