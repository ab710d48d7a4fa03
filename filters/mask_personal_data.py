"""Put placeholders for e-mail addresses, phone, card and IP numbers."""

from typing import ClassVar

import polars as pl

from filters import Cleaner, Example
from filters.private import KINDS, Kind, mask


class MaskPersonalData(Cleaner):
    """Put [EMAIL], [PHONE], [CARD] and [IP] for what `personal_data` finds."""

    kinds: tuple[Kind, ...] = KINDS
    """What is masked."""

    def clean(self, texts: pl.Series) -> pl.Series:
        return mask(texts, self.kinds)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "Ask ana.b@mail-house.net or call +1 (415) 555-2671."},
                {"text": "Card 4111-1111-1111-1111, host 93.184.216.34"},
                {"text": "In 1999, 4111 1111 1111 1112 of them."},
            ),
            cleaned=(
                "Ask [EMAIL] or call [PHONE].",
                "Card [CARD], host [IP]",
                "In 1999, 4111 1111 1111 1112 of them.",
            ),
        ),
    )
