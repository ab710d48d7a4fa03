"""What a finished run leaves to look at: loss.csv's picture, samples.md, a table."""

import json
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from data.parts import output_error
from flows.checkpoints import CURVE, RESULT, checkpoints, read_curve
from flows.train_samples import write_samples
from flows.training import Run

Points = list[tuple[float, float]]


def summarize(run: Run, screen: Console) -> None:
    """Write loss.png and samples.md, and show the run's figures."""
    curve = read_curve(run.folder)
    trained = _points(curve, "train_loss")
    validated = _points(curve, "validation_loss")
    picture = run.folder / "loss.png"
    _draw(trained, validated, picture)
    kind, steps = run.job["model"]["kind"], run.job["steps"]
    title = f"{kind} on {run.shards.name}, before and after {steps:,} steps"
    samples = write_samples(run.folder, run.job["tokenizer"], title, run.job["prompts"])
    result = json.loads((run.folder / RESULT).read_bytes())
    table = Table(title=f"{kind} on {run.shards}", title_justify="left")
    for name in ("", "first", "last"):
        table.add_column(name, justify="right" if name else "left")
    for name, points in (("train loss", trained), ("validation loss", validated)):
        if points:
            table.add_row(name, f"{points[0][1]:.4f}", f"{points[-1][1]:.4f}")
    screen.print(table)
    rate = result["tokens"] / max(result["seconds"], 1e-9)
    screen.print(
        f"{result['parameters']:,} parameters, {steps:,} steps, {result['tokens']:,} tokens, "
        f"{rate:,.0f} tokens/s"
    )
    last = checkpoints(run.folder)[-1]
    places = {"curve": run.folder / CURVE, "picture": picture, "samples": samples, "model": last}
    for name, path in places.items():
        screen.print(f"{name}: {path}", markup=False)


def _points(curve: list[dict[str, float | None]], column: str) -> Points:
    return [
        (step, loss)
        for row in curve
        if (loss := row[column]) is not None and (step := row["step"]) is not None
    ]


def _draw(trained: Points, validated: Points, path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*trained, strict=True), label="train", linewidth=1)
    if validated:
        axes.plot(*zip(*validated, strict=True), label="validation", marker="o", markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats a trained token")
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise output_error(path, error) from error
