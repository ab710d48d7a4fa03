"""Filters: why a sample falls. One file a filter; its name is its key in recipes, the class's
fields are its knobs, its EXAMPLES are its tests.

A `Filter` judges rows by themselves. A `CorpusFilter` looks at all samples in two steps, so
that it runs part by part: `sketch` each part, then `resolve` all sketches at once.
"""

import functools
import hashlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from pydantic import BaseModel, ConfigDict

from data.errors import RecipeError, nearest

HELPERS = (
    *("arithmetic", "audit", "confinement", "equations", "kernels", "math_tokens"),
    *("python_code", "sandbox", "sandbox_zygote", "texts"),
)
"""Modules here that hold no filter."""


@dataclass(frozen=True)
class Example:
    """Samples (columns that are missing get a default) and the reason of each, None = kept."""

    samples: tuple[Mapping[str, Any], ...]
    reasons: tuple[str | None, ...]
    knobs: Mapping[str, Any] = field(default_factory=dict)


class _Judge(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    EXAMPLES: ClassVar[tuple[Example, ...]] = ()


class Filter(_Judge):
    """A row filter: what it says of a sample depends on that sample alone."""

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        """A reason a row, null = keep; as many rows as `samples`."""
        raise NotImplementedError

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        """The numbers behind the reasons, one row a sample; asked for rejected rows only."""
        return pl.DataFrame({"tokens": samples["tokens"]})


class CorpusFilter(_Judge):
    """A filter that compares samples with each other."""

    def sketch(self, samples: pl.DataFrame) -> pl.DataFrame:
        """What `resolve` needs of a part, `id` among it: small, text left behind."""
        raise NotImplementedError

    def resolve(self, sketches: pl.DataFrame) -> pl.DataFrame:
        """The rejected: `id`, `reason`, `figures` (JSON); in any order."""
        raise NotImplementedError


def list_filters() -> list[str]:
    names = (found.name for found in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name not in HELPERS)


@functools.cache
def load_filter(name: str) -> type[Filter] | type[CorpusFilter]:
    """The class in filters/<name>.py. Raises RecipeError for an unknown name."""
    if name not in list_filters():
        raise RecipeError(f"unknown filter {name!r}", fix=nearest(name, list_filters()))
    module = importlib.import_module(f"{__name__}.{name}")
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, (Filter, CorpusFilter)) and found.__module__ == module.__name__:
            return found
    raise RecipeError(f"filters/{name}.py holds no filter", fix="subclass filters.Filter there")


@functools.cache
def filter_source(name: str) -> str:
    """sha256 of the filter's file and of the helpers here that it reads, and they in turn."""
    texts: dict[str, str] = {}
    waiting = [load_filter(name).__module__.rpartition(".")[2]]
    while waiting:
        module = waiting.pop()
        if module not in texts:
            texts[module] = (Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8")
            waiting += re.findall(r"^from filters\.(\w+) import", texts[module], re.MULTILINE)
    ordered = [texts[module] for module in sorted(texts)]
    return hashlib.sha256("\0".join(ordered).encode()).hexdigest()
