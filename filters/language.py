"""Reject texts that are not in the wanted languages."""

import functools
from typing import Any, ClassVar

import polars as pl
from pydantic import Field, field_validator

from filters import Example, Filter
from filters.texts import body

_ENGLISH = """The river rises in the hills, where the snow lies late in the year, and runs down
to the sea through woods and fields that nobody has named."""
_GERMAN = """Der Fluss entspringt in den Bergen, wo der Schnee bis in den Frühling liegt, und fließt
durch Wälder und Felder, die niemand benannt hat, bis zum Meer."""


class Language(Filter):
    """Reject texts that are not in the wanted languages; told offline by lingua, of 75.

    Code is left alone: its words are English in any language.
    """

    keep: tuple[str, ...] = Field(("en",), min_length=1)
    """ISO 639-1 codes."""
    characters: int = Field(600, ge=20)
    """How much of a text's start is read."""
    min_characters: int = Field(80, ge=1)
    """Shorter texts stay: their language cannot be told."""

    @field_validator("keep")
    @classmethod
    def _known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in codes if code not in _codes()]
        if unknown:
            raise ValueError(f"unknown language {unknown[0]!r}; known: {', '.join(_codes())}")
        return codes

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        heads = body(samples).str.head(self.characters)
        found = _detector().detect_languages_in_parallel_of(heads.to_list())
        codes = [language.iso_code_639_1.name.lower() if language else None for language in found]
        return samples.with_columns(pl.Series("language", codes, dtype=pl.String))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        long = body(samples).str.len_chars() >= self.min_characters
        judged = long & (samples["tag"] != "Code").fill_null(True)
        language = pl.col("language")
        return samples.select(
            reason=pl.when(judged & language.is_null())
            .then(pl.lit("no_language"))
            .when(judged & ~language.is_in(list(self.keep)))
            .then(pl.format("language_{}", language))
        )["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select("language")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": _ENGLISH},
                {"text": _GERMAN},
                {"text": "水の上に氷が浮くのは、氷の密度が水より小さいからである。" * 4},
                {"text": "12345 !!!" * 12},
                {"text": _GERMAN, "tag": "Code"},
                {"text": "Der Fluss"},
            ),
            reasons=(None, "language_de", "language_ja", "no_language", None, None),
        ),
        Example(
            samples=({"text": _GERMAN}, {"text": _ENGLISH}),
            reasons=(None, "language_en"),
            knobs={"keep": ["fr", "de"]},
        ),
    )


@functools.cache
def _codes() -> tuple[str, ...]:
    import lingua  # noqa: PLC0415 - 0.1 s and 300 MB on disk, for this filter alone

    return tuple(sorted(language.iso_code_639_1.name.lower() for language in lingua.Language.all()))


@functools.cache
def _detector() -> Any:
    from lingua import LanguageDetectorBuilder  # noqa: PLC0415

    # Trigrams alone: longer n-grams only help below 120 characters, and take a gigabyte.
    return LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()
