"""What a training run leaves on disk: loss.csv and checkpoints. The standard library is enough."""

import csv
import json
import os
from pathlib import Path

CHECKPOINTS = "checkpoints"
CURVE = "loss.csv"
SETTINGS = "settings.json"
SAMPLES = "samples.json"
RESULT = "result.json"
COMMITTED = "loader.json"
"""Written into a checkpoint last: one without it was cut off and is not resumed from."""
COLUMNS = ("step", "train_loss", "validation_loss", "tokens")


def commit(path: Path, value: object) -> None:
    """Write JSON under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(temporary, path)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a run, by step."""
    found = (folder / CHECKPOINTS).glob("checkpoint-*")
    whole = [path for path in found if (path / COMMITTED).is_file()]
    return sorted(whole, key=lambda path: int(path.name.rpartition("-")[2]))


def read_curve(folder: Path) -> list[dict[str, float | None]]:
    with open(folder / CURVE, newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(value) if value else None for key, value in row.items()} for row in rows]


class Curve:
    """loss.csv, a row a step; rows behind the step that is resumed from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept: list[list[str]] = []
        if path.is_file() and step >= 0:
            with open(path, newline="") as file:
                rows = list(csv.reader(file))[1:]
            kept = [row for row in rows if len(row) == len(COLUMNS) and int(row[0]) <= step]
        temporary = path.with_name(f".{path.name}.tmp")
        with open(temporary, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept])
        os.replace(temporary, path)

    def add(self, *row: object) -> None:
        with open(self.path, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(["" if v is None else v for v in row])
