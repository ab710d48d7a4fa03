"""What a flow run leaves in Prefect's UI. A key names recipe and kind, so that it has a history."""

import re
import threading
from typing import Any, cast
from uuid import UUID

import polars as pl
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.card import markdown_table
from flows.plan import Plan
from flows.progress import Sink
from flows.report import account, funnel_lines

OUTPUT_COLUMNS = ["output", "split", "rows", "documents", "tokens", "fill"]


def key(*words: str) -> str:
    """Prefect takes lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def stage_progress(recipe: str) -> Sink:
    """A progress artifact for each stage that takes long enough to be told of."""
    made: dict[str, UUID] = {}
    making = threading.Lock()  # parts end in threads

    def sink(stage: str, share: float, line: str) -> None:
        with making:
            if stage not in made:
                name = key(recipe, stage)
                made[stage] = cast(
                    UUID, create_progress_artifact(share * 100, key=name, description=line)
                )
                return
        update_progress_artifact(made[stage], share * 100, description=line)

    return sink


def publish_funnel(plan: Plan, table: pl.DataFrame) -> None:
    header, lines = _funnel(plan, table)
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    name = plan.recipe.name
    create_table_artifact(
        rows, key=key(name, "funnel"), description=f"Samples of {name} by stage and reason"
    )


def publish_cost(plan: Plan) -> None:
    """What generation cost by source and in all; nothing where no run asked for anything."""
    rows = account(plan)
    if not rows:
        return
    summed = ("requests", "retries", "errors", "prompt_tokens", "completion_tokens", "money")
    totals = (*summed, "requests_in_all", "money_in_all")
    whole: dict[str, Any] = dict.fromkeys(rows[0], "")
    whole |= {name: round(sum(row[name] for row in rows), 6) for name in totals}
    name = plan.recipe.name
    create_table_artifact(
        [*rows, {**whole, "source": "all"}],
        key=key(name, "cost"),
        description=f"Generation of {name}: the run that completed each source, and all runs",
    )


def publish_summary(plan: Plan, table: pl.DataFrame) -> None:
    name = plan.recipe.name
    create_markdown_artifact(
        summary(plan, table), key=key(name, "summary"), description=f"Build of {name}"
    )


def summary(plan: Plan, table: pl.DataFrame) -> str:
    """The build as Markdown. Browsers follow no link from a server's page to a file: so each is
    a link to copy beside its path."""
    out = plan.out.resolve()
    outputs = []
    for target in plan.targets:
        for split, counts in (target.shards.manifest or {"splits": {}})["splits"].items():
            figures = (f"{counts[name]:,}" for name in ("rows", "documents", "tokens"))
            outputs.append([target.name, split, *figures, f"{counts['fill']:.1%}"])
    files = [out / "report" / "index.html", out / "funnel.csv", out / "openings.csv"]
    files += [target.shards.folder.resolve() / "README.md" for target in plan.targets]
    links = [
        f"- [{path.relative_to(out)}]({path.as_uri()}): `{path}`" for path in files if path.exists()
    ]
    return "\n\n".join(
        [
            f"# {plan.recipe.name}",
            f"In `{out}`; `shardmill inspect {out}` shows the rows.",
            "## Shards",
            markdown_table(OUTPUT_COLUMNS, outputs),
            "## Files",
            "\n".join(links),
            "## Funnel",
            markdown_table(*_funnel(plan, table)),
        ]
    )


def _funnel(plan: Plan, table: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    sources = [source.name for source in plan.sources]
    return ["stage", "reason", *sources, "all"], funnel_lines(table, sources)
