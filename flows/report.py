"""The funnel and the account: what came in, what fell and why, what it cost."""

from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from data.errors import ShardmillError
from data.parts import write_if_changed
from flows.card import card
from flows.plan import Plan
from flows.rendering import resolve_output
from flows.stages import sample_parts

PARSE = "parse"


def funnel(plan: Plan) -> pl.DataFrame:
    """Rows and tokens by `source`, `stage` and `reason`.

    The stages are `asked`, then each that rejects, in order, then `kept`. Raises
    ShardmillError where asked is not kept + rejected.
    """
    tables = []
    for index, (source, part) in enumerate(sample_parts(plan)):
        samples = pl.DataFrame(source.samples.read(part).select(["id", "source", "tokens"]))
        verdicts = [(PARSE, source.samples.read(part, "verdicts"))]
        verdicts += [(_label(plan, n), s.verdicts.read(index)) for n, s in enumerate(plan.steps)]
        rejected = pl.concat(
            [
                pl.DataFrame(table).select("id", "reason", stage=pl.lit(stage, pl.String))
                for stage, table in verdicts
            ]
        )
        judged = samples.join(rejected, on="id", how="left", maintain_order="left")
        judged = judged.with_columns(pl.col("stage").fill_null("kept"))
        tables.append(
            pl.concat(
                [
                    judged,
                    samples.with_columns(reason=pl.lit(None, pl.String), stage=pl.lit("asked")),
                ],
                how="diagonal",
            )
            .group_by("source", "stage", "reason")
            .agg(rows=pl.len(), tokens=pl.col("tokens").sum())
        )
    table = (
        pl.concat(tables).group_by("source", "stage", "reason").agg(pl.col("rows", "tokens").sum())
    )
    _check_sums(table)
    order = {"asked": 0, PARSE: 1, "kept": 99}
    order |= {_label(plan, n): 2 + n for n in range(len(plan.steps))}
    sources = {source.name: n for n, source in enumerate(plan.sources)}
    return table.sort(
        pl.col("source").replace_strict(sources), pl.col("stage").replace_strict(order), "reason"
    )


def _label(plan: Plan, step: int) -> str:
    return f"{step + 1} {plan.steps[step].settings.filter}"


def _check_sums(table: pl.DataFrame) -> None:
    into = table.filter(pl.col("stage") == "asked").select("source", "rows", "tokens")
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
    """What each source's generation cost in the run that completed it."""
    rows = []
    for source in plan.sources:
        facts = (source.completions.manifest or {}).get("account", {})
        if facts.get("requests"):
            rows.append({"source": source.name, **facts})
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
    places = {"asked": (-1, ""), PARSE: (0, ""), "kept": (1000, "")}
    steps.sort(key=lambda s: (places.get(s[0]) or (int(s[0].partition(" ")[0]), ""), s[1] or ""))
    for stage, reason in steps:
        here = table.filter(pl.col("stage").eq_missing(stage) & pl.col("reason").eq_missing(reason))
        rows = dict(here.select("source", "rows").iter_rows())
        cells = [f"{rows[s]:,}" if s in rows else "" for s in sources]
        lines.append([stage, reason or "", *cells, f"{sum(rows.values()):,}"])
    asked = dict(table.filter(pl.col("stage") == "asked").select("source", "rows").iter_rows())
    kept = dict(table.filter(pl.col("stage") == "kept").select("source", "rows").iter_rows())
    tokens = dict(table.filter(pl.col("stage") == "kept").select("source", "tokens").iter_rows())
    shares = [f"{kept.get(s, 0) / asked[s]:.0%}" for s in sources]
    whole = f"{sum(kept.values()) / max(1, sum(asked.values())):.0%}"
    lines.append(["yield", "", *shares, whole])
    counted = [f"{tokens.get(s, 0):,}" for s in sources]
    lines.append(["tokens", "kept", *counted, f"{sum(tokens.values()):,}"])
    return lines


def write_report(plan: Plan) -> pl.DataFrame:
    """`OUT/funnel.csv`, and beside each output's shards a card and the tokenizer that made them;
    unchanged files stay."""
    table = funnel(plan)
    write_if_changed(plan.out / "funnel.csv", table.write_csv().encode())
    for target in plan.targets:
        sources = [source.name for source in plan.sources if source.name in target.sources]
        lines = funnel_lines(table.filter(pl.col("source").is_in(sources)), sources)
        text = card(plan, target, [["stage", "reason", *sources, "all"], *lines])
        write_if_changed(target.shards.folder / "README.md", text.encode())
        tokenizer = resolve_output(target.name, target.settings).tokenizer
        content = tokenizer.json().encode()
        write_if_changed(target.shards.folder / "tokenizer.json", content)
    return table
