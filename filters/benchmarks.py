"""Test sets: where their questions and answers stand, and the items that are looked for."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.errors import SourceError
from data.hub import quiet
from filters.references import expand, read_rows


class Preset(NamedTuple):
    """The columns that hold the questions and answers of a data set on the hub."""

    columns: tuple[str, ...]
    split: str = "test"
    config: str | None = None


PRESETS = {
    "openai/gsm8k": Preset(("question", "answer"), config="main"),
    "openai/openai_humaneval": Preset(("prompt", "canonical_solution")),
    "google-research-datasets/mbpp": Preset(("text", "code"), config="full"),
    "cais/mmlu": Preset(("question", "choices"), config="all"),
    "TIGER-Lab/MMLU-Pro": Preset(("question", "options")),
    "allenai/ai2_arc": Preset(("question", "choices"), config="ARC-Challenge"),
    "allenai/openbookqa": Preset(("question_stem", "choices"), config="main"),
    "allenai/winogrande": Preset(("sentence",), "validation", "winogrande_xl"),
    "Rowan/hellaswag": Preset(("ctx", "endings"), "validation"),
    "ybisk/piqa": Preset(("goal", "sol1", "sol2"), "validation"),
    "google/boolq": Preset(("question", "passage"), "validation"),
    "tau/commonsense_qa": Preset(("question", "choices"), "validation"),
    "truthfulqa/truthful_qa": Preset(("question", "best_answer"), "validation", "generation"),
    "EleutherAI/lambada_openai": Preset(("text",)),
    "HuggingFaceH4/MATH-500": Preset(("problem", "solution")),
}


class Benchmark(BaseModel):
    """A test set: a local file or folder, a data set of the hub, or a local copy of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: str | None = None
    """Names the columns where a preset is known; downloaded where `file` is left out."""
    file: str | None = None
    """A local file or folder, .jsonl or .parquet."""
    columns: tuple[str, ...] = Field(())
    """Those that hold the questions and the answers."""
    name: str = ""
    """What contamination.csv calls it; the hub's name or the file's if left out."""
    split: str = ""
    """The hub set's split."""
    config: str | None = None
    """The hub set's configuration."""

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"hub": data} if data in PRESETS else {"file": data}
        if not isinstance(data, dict):
            return data
        preset = PRESETS.get(str(data.get("hub")))
        known = preset._asdict() if preset else {}
        filled = {key: value for key, value in known.items() if not data.get(key)}
        name = data.get("name") or data.get("hub") or Path(str(data.get("file", ""))).stem
        return {**data, **filled, "name": name}

    @model_validator(mode="after")
    def _whole(self) -> "Benchmark":
        if self.hub is None and self.file is None:
            raise ValueError("a benchmark needs a file or a hub id")
        if not self.columns:
            known = ", ".join(PRESETS)
            raise ValueError(f"{self.name} needs columns; known without: {known}")
        return self

    def texts(self) -> Iterator[tuple[str, str]]:
        """Item and text, an item a row and column; raises SourceError for what is not there."""
        start = 0
        for rows in self._batches():
            for column in self.columns:
                for number, value in enumerate(rows[column].to_list(), start):
                    text = "\n".join(_strings(value)).strip()
                    if text:
                        yield f"{number}.{column}", text
            start += len(rows)

    def _batches(self) -> Iterator[pl.DataFrame]:
        if self.file is not None:
            for file in expand(self.file):
                yield from read_rows(file, self.columns)
            return
        yield _download(self)


def _download(benchmark: Benchmark) -> pl.DataFrame:
    import datasets  # noqa: PLC0415 - seconds to import, and rarely needed

    quiet()
    try:
        found = datasets.load_dataset(
            benchmark.hub, benchmark.config, split=benchmark.split or "test"
        )
        frame: pl.DataFrame = pl.DataFrame(found.data.table)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"cannot be loaded from the hub ({str(error).partition(chr(10))[0]})",
            where=str(benchmark.hub),
            fix="give a local copy: {hub: ..., file: PATH}",
        ) from error
    missing = [column for column in benchmark.columns if column not in frame.columns]
    if missing:
        raise SourceError(f"lacks the column {missing[0]!r}", where=str(benchmark.hub))
    return frame


def _strings(value: Any) -> Iterator[str]:
    """The texts in a value: itself, or those of a list or a mapping such as ARC's choices."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(value.get("text", list(value.values())))
    elif isinstance(value, Sequence):
        yield from itertools.chain.from_iterable(map(_strings, value))
    elif value is not None:
        yield json.dumps(value)
