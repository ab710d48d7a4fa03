"""Reject texts with too many digits."""

from typing import ClassVar

from pydantic import Field

from filters import Example
from filters.character_share import CharacterShare


class DigitRatio(CharacterShare):
    """Reject texts with too many digits.

    Shares are of characters that are not white space.
    """

    PATTERN: ClassVar[str] = r"\p{Nd}"
    REASON: ClassVar[str] = "too_many_digits"

    max_share: float = Field(0.25, ge=0, le=1)
    """Share of digits that a text may have."""

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The sea is deep, and it is wide."},
                {"text": "The sea 12345678901234"},
                {"text": "1 + 2 = <3>", "tag": "Math"},
                {"text": ""},
            ),
            reasons=(None, "too_many_digits", None, None),
        ),
        Example(
            samples=({"text": "The sea 12345678901234"},),
            reasons=(None,),
            knobs={"max_share": 1.0},
        ),
    )
