"""Reject texts with too many symbols."""

from typing import ClassVar

from pydantic import Field

from filters import Example
from filters.character_share import CharacterShare


class SymbolRatio(CharacterShare):
    """Reject texts with too many characters that are no letter, digit, space or common mark.

    Shares are of characters that are not white space.
    """

    PATTERN: ClassVar[str] = r"[^\p{L}\p{M}\p{N}\s.,;:!?'\"()\-]"
    REASON: ClassVar[str] = "too_many_symbols"

    max_share: float = Field(0.15, ge=0, le=1)
    """Share of symbols that a text may have."""

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "The sea is deep, and it is wide."},
                {"text": "The sea @#$%^&*<>|~"},
                {"text": "1 + 2 = 3, so 3 < 4", "tag": "Math"},
                {"text": ""},
            ),
            reasons=(None, "too_many_symbols", None, None),
        ),
        Example(
            samples=({"text": "The sea @#$%^&*<>|~"},),
            reasons=(None,),
            knobs={"max_share": 1.0},
        ),
    )
