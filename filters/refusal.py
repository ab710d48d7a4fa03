"""Reject answers in which a model refuses, or talks about itself."""

from typing import ClassVar

import polars as pl
from pydantic import Field

from filters import Example, Filter
from filters.texts import body

_REFUSALS = (
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b",
    r"\bi(?:'| a)m (?:just |only )?an? (?:ai|(?:large )?language model)\b",
    r"\bi(?:'m| am) (?:sorry|afraid),? (?:but )?(?:i (?:can(?:no|')t|am unable|won't)|that)",
    r"^\W*(?:i'm |i am )?sorry,? (?:but )?i (?:can(?:no|')t|am unable|am not able)",
    r"\bi (?:can(?:no|')t|am unable to|am not able to|won't) (?:assist|help|comply|fulfil|provide|"
    r"generate|create|write|answer|continue)\b",
    r"\bmy (?:training data|knowledge cutoff|programming)\b",
    r"\bdeveloped by (?:openai|anthropic|google|meta|mistral)\b",
)
_PREAMBLES = (
    r"^\W*(?:sure|certainly|of course|absolutely|great(?: question)?|okay|ok|happy to help)\b"
    r"[!,.:]",
    r"^\W*here(?:'s| is| are) (?:a|an|the|your|some|my)\b[^\n]{0,200}:\s*(?:\n|$)",
    r"^\W*i(?:'d| would|'ll| will) (?:be (?:happy|glad) to|gladly)\b",
)


class Refusal(Filter):
    """Reject answers in which a model refuses or talks about itself, or opens by a preamble.

    English. Only the first and last `characters` are read.
    """

    preamble: bool = True
    """Reject "Sure, here is ..." too; the cleaner `strip_boilerplate` removes it instead."""
    characters: int = Field(400, ge=20)
    """How much of the beginning and of the end is read."""

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        text = body(samples).str.replace_all("’", "'", literal=True).str.to_lowercase()
        head, tail = text.str.head(self.characters), text.str.tail(self.characters)
        refusal = "|".join(f"(?:{pattern})" for pattern in _REFUSALS)
        refuses = head.str.contains(refusal) | tail.str.contains(refusal)
        polite = head.str.contains("|".join(f"(?:{pattern})" for pattern in _PREAMBLES))
        return pl.select(
            reason=pl.when(refuses)
            .then(pl.lit("refuses"))
            .when(polite & self.preamble)
            .then(pl.lit("preamble"))
        ).to_series()

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"opening": body(samples).str.head(80)})

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "I'm sorry, but I can't help with that."},
                {"text": "As an AI language model, I have no feelings."},
                {"text": "Sure! Here is a story:\nA fox ran."},
                {"text": "Here’s a short summary of it:\nFoxes run."},
                {"text": "He was sorry that he had to leave the sea."},
                {"text": "Here is where the river ends."},
                {"text": ""},
            ),
            reasons=("refuses", "refuses", "preamble", "preamble", None, None, None),
        ),
        Example(
            samples=({"text": "Certainly! The sea is deep."},),
            reasons=(None,),
            knobs={"preamble": False},
        ),
    )
