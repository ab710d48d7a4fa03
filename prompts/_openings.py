"""How texts begin. Asked alike, a model begins alike: each seed draws one way from a list."""

from collections.abc import Sequence
from typing import TypeVar

from data import schema

T = TypeVar("T")

NO_CLICHES = "No title, no greeting, no introduction and no stock phrase: go straight to it."
"""For kinds of running prose. No phrase is named: small models begin with what is named."""

FACTUAL = (
    "Begin with a definition in one sentence.",
    "Begin with a measurement or a number and say what it means.",
    "Begin with a common mistake and correct it.",
    "Begin with an object that the reader has seen and lead from it to the subject.",
    "Begin with the problem that the idea solves.",
    "Begin with the smallest possible example.",
    "Begin with a comparison of two cases.",
    "Begin with a question that a learner would ask, and answer it at once.",
)
NARRATED = (
    "Begin in the middle of an action.",
    "Begin with a person saying something.",
    "Begin with a sound or a smell in the place where it happens.",
    "Begin with an object that someone holds.",
    "Begin with something that has just gone wrong.",
    "Begin with the weather and the hour of the day.",
    "Begin with what a person wants and does not have.",
    "Begin with a name and what the person is known for.",
)


def pick(options: Sequence[T], *of: object) -> T:
    """One of the options, always the same for the same values."""
    return options[schema.make_id(["pick", *of]) * len(options) >> 64]
