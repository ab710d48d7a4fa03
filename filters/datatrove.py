"""Reject texts by a filter of datatrove's."""

import functools
import inspect
from typing import Any, ClassVar, Self

import polars as pl
from pydantic import ConfigDict, model_validator

from data.errors import RecipeError, nearest
from filters import Example, Filter
from filters.texts import body

_OUR_OWN = ("exclusion_writer", "filter_function")


class Datatrove(Filter):
    """Reject texts by a filter of datatrove's, for what there is no filter for here.

    `filter` is the name of a class of datatrove.pipeline.filters; the other knobs are that
    class's. Hundreds of documents a second; one that raises is rejected with the error's name.
    """

    model_config = ConfigDict(extra="allow")

    filter: str
    """The name of datatrove's class, such as C4ParagraphFilter."""

    @model_validator(mode="after")
    def _made(self) -> Self:
        self._make()
        return self

    def _make(self) -> Any:
        return _instance(self.filter, repr(sorted((self.model_extra or {}).items())), self)

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        from datatrove.data import Document  # noqa: PLC0415

        judge = self._make()
        reasons: list[str | None] = []
        for id, text in zip(samples["id"].to_list(), body(samples).to_list(), strict=True):
            try:
                result = judge.filter(Document(text=text, id=str(id), metadata={}))
            except Exception as error:  # noqa: BLE001 - whatever another's filter raises
                reasons.append(f"raised_{type(error).__name__}")
                continue
            kept, reason = result if isinstance(result, tuple) else (result, "rejected")
            reasons.append(None if kept else str(reason))
        return samples.with_columns(pl.Series("datatrove", reasons, dtype=pl.String))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        return samples["datatrove"]

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=({"text": "The sea is deep."}, {"text": "It is http://a.b.c deep."}),
            reasons=(None, "rejected"),
            knobs={"filter": "RegexFilter", "regex_exp": "http://"},
        ),
        Example(
            samples=({"text": "The sea is deep.\n" * 2}, {"text": "The sea is deep."}),
            reasons=("char_dup_ratio", None),
            knobs={"filter": "FineWebQualityFilter", "short_line_thr": 1.0, "new_line_ratio": 9},
        ),
    )


@functools.lru_cache(maxsize=32)
def _instance(name: str, knobs: str, of: Datatrove) -> Any:
    """Raises RecipeError for an unknown filter or knob."""
    from datatrove.pipeline import filters  # noqa: PLC0415 - seconds to import
    from datatrove.pipeline.filters.base_filter import BaseFilter  # noqa: PLC0415

    classes = {
        found: value
        for found, value in vars(filters).items()
        if inspect.isclass(value) and issubclass(value, BaseFilter)
    }
    if name not in classes:
        raise RecipeError(f"datatrove has no filter {name!r}", fix=nearest(name, classes))
    known = [
        knob
        for knob in inspect.signature(classes[name].__init__).parameters
        if knob not in ("self", *_OUR_OWN)
    ]
    given = of.model_extra or {}
    for knob in given:
        if knob not in known:
            raise RecipeError(f"{name} has no knob {knob!r}", fix=nearest(knob, known))
    try:
        return classes[name](**given)
    except (TypeError, ValueError, ImportError) as error:
        raise RecipeError(f"datatrove's {name} cannot be made: {error}") from error
