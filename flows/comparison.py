"""Several builds, one small model: which build's model does better on what was held out."""

import math
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from data.errors import RecipeError, SourceError
from flows.checkpoints import COMPARED
from flows.train_process import do_runs
from flows.train_samples import named
from flows.training import Job, Run

ALIKE = ("tokenizer", "vocabulary", "length", "steps", "batch_rows", "model")


def compare_runs(names: list[str], runs: list[Run], text: Path | None, screen: Console) -> None:
    """Train each, and show the loss of each on every build's validation rows and on `text`.

    Raises RecipeError where losses could not be compared or nothing is held out.
    """
    first = runs[0]
    for name, run in zip(names, runs, strict=True):
        differing = [key for key in ALIKE if run.job[key] != first.job[key]]
        if differing:
            raise RecipeError(
                f"differs from {names[0]} in {', '.join(differing)}: losses cannot be compared",
                where=name,
            )
    places = {
        f"validation of {name}": str(run.shards.resolve())
        for name, run in zip(names, runs, strict=True)
        if run.job["validation"]
    }
    if text is not None:
        places[f"text of {text}"] = str(_write_ids(first, text))
    if not places:
        raise RecipeError(
            "none of the builds holds anything out",
            fix="give an output `validation: 0.05`, or a file with --text",
        )
    judged = [{**run.job, "held_out": places} for run in runs]
    found = do_runs(runs, screen, judged)
    screen.print(_table(names, runs, list(places), found))


def _write_ids(run: Run, text: Path) -> Path:
    """The text's ids beside the first run, for a process that has no tokenizer."""
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read ({error})", where=str(text)) from error
    ids, _ = named(run.job["tokenizer"]).encode([content])
    if len(ids) < 2:
        raise SourceError("has no two tokens", where=str(text))
    path = run.folder / COMPARED
    np.save(path, ids)
    return path


def _table(names: list[str], runs: list[Run], places: list[str], found: list[Job]) -> Table:
    losses = {(event["folder"], event["held_out"]): event["loss"] for event in found}
    table = Table(title="loss a token; * the lowest of a column", title_justify="left")
    table.add_column("trained on")
    for place in places:
        table.add_column(place, justify="right")
    for name, run in zip(names, runs, strict=True):
        cells = []
        for place in places:
            column = [losses[r.job["folder"], place] for r in runs]
            loss = losses[run.job["folder"], place]
            lowest = not math.isnan(loss) and loss == min(column)
            cells.append(f"{loss:.4f}{' *' if lowest else '  '}")
        table.add_row(name, *cells)
    return table
