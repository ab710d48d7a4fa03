"""The funnel and the account: what came in, what fell and why, what it cost."""

from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from data.errors import ShardmillError
from data.parts import write_if_changed
from filters import Cleaner
from flows.card import card
from flows.diversity import openings
from flows.plan import Plan, Source
from flows.prompting import DUPLICATE, duplicates
from flows.rendering import resolve_output
from flows.stages import sample_parts

PROMPTS = "prompts"
PARSE = "parse"
READ = "read"
NAMED = ["source", "tag", "stage", "filter", "reason"]
COUNTS = {"rows": pl.Int64, "tokens": pl.Int64}


def funnel(plan: Plan) -> pl.DataFrame:
    """Rows and tokens by `source`, `tag`, `stage`, `filter` and `reason`.

    The stages are `asked`, then each that rejects or cleans, in order, then `kept`. What
    cleaners took of texts that stay is a row of no samples, with the reason `cleaned`. Raises
    ShardmillError where asked is not kept + rejected (+ cleaned), in rows or in tokens.
    """
    counted = []  # a part at a time: the rows of all would not fit
    for index, (source, part) in enumerate(sample_parts(plan)):
        tables = []
        samples = pl.DataFrame(source.samples.read(part, columns=["id", "source", "tag", "tokens"]))
        tables.append(samples.with_columns(stage=pl.lit("asked"), rows=pl.lit(1)))
        left = samples
        first = PARSE if isinstance(source, Source) else READ
        steps = [(first, source.samples.read(part, "verdicts"), None)]
        for number, step in enumerate(plan.steps):
            cleaner = isinstance(step.judge, Cleaner)
            changes = step.verdicts.read(index, "changes") if cleaner else None
            steps.append((_label(plan, number), step.verdicts.read(index), changes))
        for stage, verdicts, changes in steps:
            fallen = pl.DataFrame(verdicts).select("id", "filter", "reason")
            out = left.join(fallen, on="id", how="inner", maintain_order="left")
            tables.append(out.with_columns(stage=pl.lit(stage, pl.String), rows=pl.lit(1)))
            left = left.join(fallen, on="id", how="anti", maintain_order="left")
            if changes is not None:
                left, taken = _cleaned(left, pl.DataFrame(changes))
                label = {"stage": stage, "filter": stage.partition(" ")[2], "reason": "cleaned"}
                marked = [pl.lit(value, pl.String).alias(name) for name, value in label.items()]
                tables.append(taken.with_columns(*marked, rows=pl.lit(0)))
        tables.append(left.with_columns(stage=pl.lit("kept"), rows=pl.lit(1)))
        counted.append(_count(tables))
    table = pl.concat([_count([]), *counted])
    table = pl.concat([table, _never_asked(plan, table)])
    table = table.group_by(NAMED).agg(pl.col("rows", "tokens").sum())
    _check_sums(table)
    order = {"asked": -1, PROMPTS: 0, READ: 1, PARSE: 1, "kept": 99_999}
    order |= {_label(plan, n): 2 + n for n in range(len(plan.steps))}
    sources = {source.name: n for n, source in enumerate(plan.sources)}
    return table.sort(
        pl.col("source").replace_strict(sources, return_dtype=pl.Int64),
        pl.col("stage").replace_strict(order, return_dtype=pl.Int64),
        "reason",
        "tag",
    )


def _count(tables: list[pl.DataFrame]) -> pl.DataFrame:
    empty = pl.DataFrame(schema={**dict.fromkeys(NAMED, pl.String), **COUNTS})
    whole = pl.concat([empty, *tables], how="diagonal_relaxed")
    return whole.group_by(NAMED).agg(pl.col(name).cast(kind).sum() for name, kind in COUNTS.items())


def _never_asked(plan: Plan, table: pl.DataFrame) -> pl.DataFrame:
    """Prompts that were left out as duplicates: `asked` means asked for by the recipe."""
    rows = [
        (source.name, source.tag, *left_out, lost, 0)
        for source in plan.generated
        if (lost := duplicates(source))
        for left_out in (("asked", None, None), (PROMPTS, PROMPTS, DUPLICATE))
    ]
    return pl.DataFrame(rows, schema=table.schema, orient="row")


def _cleaned(left: pl.DataFrame, changes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The samples with their tokens after a cleaner, and a row of the tokens that it took of
    each that it changed."""
    now = changes.select("id", now="tokens")
    both = left.join(now, on="id", how="left", maintain_order="left")
    taken = both.filter(pl.col("now").is_not_null()).with_columns(
        tokens=pl.col("tokens") - pl.col("now")
    )
    after = both.with_columns(tokens=pl.coalesce("now", "tokens"))
    return after.drop("now"), taken.drop("now")


def _label(plan: Plan, step: int) -> str:
    return f"{step + 1} {plan.steps[step].settings.filter}"


def _check_sums(table: pl.DataFrame) -> None:
    into = (
        table.filter(pl.col("stage") == "asked")
        .group_by("source")
        .agg(pl.col("rows", "tokens").sum())
    )
    out = (
        table.filter(pl.col("stage") != "asked")
        .group_by("source")
        .agg(pl.col("rows", "tokens").sum())
    )
    if not into.sort("source").equals(out.sort("source").select(into.columns)):
        raise ShardmillError(
            "the funnel does not add up: samples asked are not kept + rejected",
            fix="this is a defect of shardmill; keep the folder and report it",
        )


def show(table: pl.DataFrame) -> Table:
    """The funnel for a terminal: a row a stage and reason, a column a source."""
    sources = table["source"].unique(maintain_order=True).to_list()
    shown = Table(title="Funnel (samples; kept also in GPT-2 tokens)")
    for column in ("stage", "reason", *sources, "all"):
        shown.add_column(column, justify="left" if column in ("stage", "reason") else "right")
    for row in funnel_lines(table, sources):
        shown.add_row(
            *map(Text, row), style="bold" if row[0] in ("asked", "kept", "yield") else None
        )
    return shown


def account(plan: Plan) -> list[dict[str, Any]]:
    """What each source's generation cost in the run that completed it, and in all runs."""
    rows = []
    for source in plan.generated:
        facts = dict((source.completions.manifest or {}).get("account", {}))
        sums = facts.pop("all_runs", {})
        if facts.get("requests"):
            in_all = {f"{name}_in_all": sums[name] for name in ("requests", "money")}
            rows.append({"source": source.name, **facts, **in_all})
    return rows


def show_account(plan: Plan) -> Table | None:
    """The account for a terminal; None where nothing was asked."""
    rows = account(plan)
    if not rows:
        return None
    shown = Table(title="Generation (latency in seconds)")
    for column in rows[0]:
        shown.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        shown.add_row(*(f"{v:,}" if isinstance(v, (int, float)) else str(v) for v in row.values()))
    return shown


def funnel_lines(table: pl.DataFrame, sources: list[str]) -> list[list[str]]:
    lines = []
    steps = table.select("stage", "reason").unique(maintain_order=True).rows()
    places = {
        "asked": (-2, ""),
        PROMPTS: (-1, ""),
        READ: (0, ""),
        PARSE: (0, ""),
        "kept": (1000, ""),
    }
    steps.sort(key=lambda s: (places.get(s[0]) or (int(s[0].partition(" ")[0]), ""), s[1] or ""))
    for stage, reason in steps:
        here = table.filter(pl.col("stage").eq_missing(stage) & pl.col("reason").eq_missing(reason))
        rows = _by_source(here, "rows")
        cells = [f"{rows[s]:,}" if s in rows else "" for s in sources]
        lines.append([stage, reason or "", *cells, f"{sum(rows.values()):,}"])
    asked = _by_source(table.filter(pl.col("stage") == "asked"), "rows")
    kept = _by_source(table.filter(pl.col("stage") == "kept"), "rows")
    tokens = _by_source(table.filter(pl.col("stage") == "kept"), "tokens")
    shares = [f"{kept.get(s, 0) / max(1, asked.get(s, 0)):.0%}" for s in sources]
    whole = f"{sum(kept.values()) / max(1, sum(asked.values())):.0%}"
    lines.append(["yield", "", *shares, whole])
    counted = [f"{tokens.get(s, 0):,}" for s in sources]
    lines.append(["tokens", "kept", *counted, f"{sum(tokens.values()):,}"])
    return lines


def _by_source(table: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(table.group_by("source").agg(pl.col(column).sum()).iter_rows())


def contamination(plan: Plan) -> pl.DataFrame:
    """What decontamination found, whether it dropped or only audited: by `benchmark`, the
    `samples` and the different `items` in them, and the best match's `share` and `matched`."""
    tables = [
        pl.DataFrame(step.verdicts.read(index, "notes"))
        for step in plan.steps
        if step.settings.filter == "decontaminate"
        for index in range(len(sample_parts(plan)))
    ]
    if not tables:
        return pl.DataFrame()
    found = pl.concat(tables).sort("share", "id", "item", descending=[True, False, False])
    return (
        found.group_by("benchmark")
        .agg(
            samples=pl.col("id").n_unique(),
            items=pl.col("item").n_unique(),
            share=pl.col("share").first(),
            matched=pl.col("matched").first(),
        )
        .sort("benchmark")
    )


def write_report(plan: Plan) -> pl.DataFrame:
    """`OUT/funnel.csv`, `OUT/openings.csv`, `OUT/contamination.csv` where there is any, and beside
    each output's shards a card and the tokenizer that made them; unchanged files stay."""
    table = funnel(plan)
    write_if_changed(plan.out / "funnel.csv", table.write_csv().encode())
    alike = pl.DataFrame(openings(plan))
    write_if_changed(plan.out / "openings.csv", alike.write_csv().encode())
    found = contamination(plan)
    if found.width:
        write_if_changed(plan.out / "contamination.csv", found.write_csv().encode())
    for target in plan.targets:
        sources = [source.name for source in plan.sources if source.name in target.sources]
        lines = funnel_lines(table.filter(pl.col("source").is_in(sources)), sources)
        text = card(plan, target, [["stage", "reason", *sources, "all"], *lines])
        write_if_changed(target.shards.folder / "README.md", text.encode())
        tokenizer = resolve_output(target.name, target.settings).tokenizer
        content = tokenizer.json().encode()
        write_if_changed(target.shards.folder / "tokenizer.json", content)
    return table
