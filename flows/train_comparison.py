"""Several builds, one small model: which build's model does better on what was held out."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from data.errors import RecipeError, SourceError
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
        f"validation of {number}": str(run.shards.resolve())
        for number, run in enumerate(runs, 1)
        if run.job["validation"]
    }
    ids = None if text is None else _encode(first, text)
    if not places and ids is None:
        raise RecipeError(
            "none of the builds holds anything out",
            fix="give an output `validation: 0.05`, or a file with --text",
        )
    with TemporaryDirectory(prefix="shardmill-") as scratch:
        if ids is not None:  # for a process that has no tokenizer
            path = Path(scratch) / "text.npy"
            np.save(path, ids)
            places["text"] = str(path)
        found = do_runs(runs, screen, [{**run.job, "held_out": places} for run in runs])
    for number, name in enumerate(names, 1):
        screen.print(f"{number}: {name}", markup=False)
    screen.print(_table(runs, list(places), found))


def _encode(run: Run, text: Path) -> npt.NDArray[np.uint32]:
    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read ({error})", where=str(text)) from error
    ids, _ = named(run.job["tokenizer"]).encode([content])
    if len(ids) < 2:
        raise SourceError("has no two tokens", where=str(text))
    return ids


def _table(runs: list[Run], places: list[str], found: list[Job]) -> Table:
    losses = {(event["folder"], event["held_out"]): event["loss"] for event in found}
    table = Table(title="loss a token; * the lowest of a column", title_justify="left")
    table.add_column("trained on")
    for place in places:
        table.add_column(place, justify="right")
    for number, run in enumerate(runs, 1):
        cells = []
        for place in places:
            column = [losses[r.job["folder"], place] for r in runs]
            loss = losses[run.job["folder"], place]
            lowest = not math.isnan(loss) and loss == min(column)
            cells.append(f"{loss:.4f}{' *' if lowest else '  '}")
        table.add_row(str(number), *cells)
    return table
