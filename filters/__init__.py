"""Filters: why a sample falls. One file a filter; its name is its key in recipes, the class's
fields are its knobs, its EXAMPLES are its tests.

A `Filter` judges rows by themselves. A `CorpusFilter` looks at all samples in two steps, so
that it runs part by part: `sketch` each part, then `resolve` all sketches at once. A `Cleaner`
changes text and rejects nothing, but samples of which it leaves nothing.
"""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from data.errors import RecipeError, nearest
from filters.compiled import source_of

HELPERS = (
    "arithmetic",
    "audit",
    "benchmarks",
    "character_share",
    "characters",
    "compiled",
    "confinement",
    "duplicates",
    "equations",
    "guards",
    "kernels",
    "lanes",
    "line_figures",
    "math_tokens",
    "measures",
    "ngrams",
    "patterns",
    "private",
    "python_code",
    "references",
    "sandbox",
    "sandbox_zygote",
    "shingles",
    "spacing",
    "text_figures",
    "texts",
    "words",
)
"""Modules here that hold no filter."""


@dataclass(frozen=True)
class Example:
    """Samples (columns that are missing get a default) and the reason of each, None = kept.

    A cleaner's example has `cleaned`: the text that becomes of each.
    """

    samples: tuple[Mapping[str, Any], ...]
    reasons: tuple[str | None, ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    cleaned: tuple[str, ...] = ()


class Scores(BaseModel):
    """A number of each sample: a column of its own, or what a judge said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    from_: str | None = Field(None, alias="from")
    """A source of the recipe whose kind is a judge of other samples."""
    column: str
    """A numeric column of samples or, with `from`, a key of the judge's `meta`."""


class _Judge(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    EXAMPLES: ClassVar[tuple[Example, ...]] = ()
    MEASURES: ClassVar[tuple[str, ...]] = ()
    """Tables of filters/measures.py that `samples` has as columns, made once a part for all
    filters of a pass."""

    def scores(self) -> Scores | None:
        """What `samples` holds as the column `score`; null where it is unknown."""
        return None

    def anchored(self, find: Callable[[str], str]) -> Self:
        """The filter with its knobs' paths made absolute by `find`."""
        return self

    def offline(self) -> Self:
        """The filter with shipped files in place of what it would read from the hub."""
        return self

    def files(self) -> dict[str, str]:
        """sha256 of each file that verdicts depend on, by its name."""
        return {}

    def check(self) -> None:
        """Raises RecipeError or SourceError for what would fail later, such as a file."""


class Filter(_Judge):
    """A row filter: what it says of a sample depends on that sample alone."""

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The samples with columns that the methods below share, where any are dear."""
        return samples

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        """A reason a row, null = keep; as many rows as `samples`."""
        raise NotImplementedError

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The numbers behind the reasons, one row a sample; asked for rejected rows only."""
        return pl.DataFrame({"tokens": samples["tokens"]})

    def notes(self, samples: pl.DataFrame) -> pl.DataFrame | None:
        """A table to keep beside the verdicts, such as matches of samples that stay."""
        return None


class Corpus(Protocol):
    """All parts as `resolve` sees them: rows in the order of parts, references behind."""

    @property
    def scratch(self) -> Path:
        """A folder for files that are removed before `resolve` returns."""

    def sketches(self, *columns: str) -> pl.DataFrame:
        """These columns of all sketches; `reference` tells rows that are no samples."""

    def samples(self, rows: npt.NDArray[np.int64]) -> Iterator[pl.DataFrame]:
        """The samples of ascending sketch rows, part by part, in that order."""


@dataclass(frozen=True)
class Resolved:
    """The rejected (`id`, `reason`, `figures` as JSON, in any order) and tables to keep."""

    rejected: pl.DataFrame
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)


class CorpusFilter(_Judge):
    """A filter that compares samples with each other."""

    def sketch(self, samples: pl.DataFrame) -> pl.DataFrame:
        """What `resolve` needs of a part, `id` among it, in the order of samples; rows that
        cannot fall may be left out. Small, text left behind."""
        raise NotImplementedError

    def references(self) -> Iterator[pl.DataFrame]:
        """Texts that samples are compared with but that are not judged: `id`, `text`, `tag`."""
        return iter(())

    def resolve(self, corpus: Corpus) -> Resolved:
        raise NotImplementedError


class Cleaner(_Judge):
    """A filter that changes text; the text before stays where it was."""

    def clean(self, texts: pl.Series) -> pl.Series:
        """Each text cleaned: a document's, or that of one turn of a conversation."""
        raise NotImplementedError


Judge = Filter | CorpusFilter | Cleaner


def list_filters() -> list[str]:
    names = (found.name for found in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name not in HELPERS)


@functools.cache
def load_filter(name: str) -> type[Filter] | type[CorpusFilter] | type[Cleaner]:
    """The class in filters/<name>.py. Raises RecipeError for an unknown name."""
    if name not in list_filters():
        raise RecipeError(f"unknown filter {name!r}", fix=nearest(name, list_filters()))
    module = importlib.import_module(f"{__name__}.{name}")
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, Judge) and found.__module__ == module.__name__:
            return found
    raise RecipeError(f"filters/{name}.py holds no filter", fix="subclass filters.Filter there")


def filter_source(name: str) -> str:
    """sha256 of the filter's file and of what it imports of this package."""
    return source_of(load_filter(name).__module__.removeprefix(f"{__name__}."))
