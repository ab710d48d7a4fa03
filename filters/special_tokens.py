"""Reject texts with a vocabulary's special tokens in them."""

from typing import ClassVar

import polars as pl

from filters import Example, Filter
from filters.patterns import SPECIAL_TOKENS
from filters.texts import body


class SpecialTokens(Filter):
    """Reject texts with a vocabulary's special tokens in them, such as <|endoftext|>.

    Tokenizing never turns them into ids here; other tools that read the text may.
    """

    more: tuple[str, ...] = ()
    """Further strings that count as special."""

    def _found(self, samples: pl.DataFrame) -> pl.Series:
        text = body(samples)
        found = text.str.extract(f"({SPECIAL_TOKENS})", 1)
        for token in self.more:
            more = pl.when(text.str.contains(token, literal=True)).then(pl.lit(token))
            found = pl.select(pl.coalesce(found, more)).to_series()
        return found

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        found = self._found(samples)
        return pl.select(
            reason=pl.when(found.is_not_null()).then(pl.lit("special_token"))
        ).to_series()

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"token": self._found(samples)})

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The end.<|endoftext|>The start."},
                {"text": "[INST] Tell me. [/INST]"},
                {"text": "if a < b | c > d: x = [1]"},
                {"text": ""},
            ),
            reasons=("special_token", "special_token", None, None),
        ),
        Example(
            samples=({"text": "The end @@ of it."},),
            reasons=("special_token",),
            knobs={"more": ["@@"]},
        ),
    )
