"""Reject texts with e-mail addresses, phone, card or IP numbers."""

from typing import ClassVar

import polars as pl

from filters import Example, Filter
from filters.private import KINDS, Kind, find
from filters.texts import body


class PersonalData(Filter):
    """Reject texts with e-mail addresses, phone, card or IP numbers.

    Cards have to pass Luhn's test, and addresses of examples and of one's own network do not
    count. The cleaner `mask_personal_data` masks them instead.
    """

    kinds: tuple[Kind, ...] = KINDS
    """What is looked for."""

    def prepare(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.with_columns(find(body(samples), self.kinds).rename("private"))

    def reasons(self, samples: pl.DataFrame) -> pl.Series:
        return samples.select(reason=pl.format("has_{}", pl.col("private")))["reason"]

    def figures(self, samples: pl.DataFrame) -> pl.DataFrame:
        return samples.select("private")

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "Write to ana.b@mail-house.net."},
                {"text": "Call +1 (415) 555-2671 today."},
                {"text": "Card 4111 1111 1111 1111 is on file."},
                {"text": "The host 93.184.216.34 is up."},
                {"text": "Card 4111 1111 1111 1112, host 127.0.0.1, me@example.com, 1.2.3."},
                {"text": "In 1999 there were 1234567 of them, at 12:30, 2020-01-02."},
                {"text": ""},
            ),
            reasons=("has_email", "has_phone", "has_card", "has_ip", None, None, None),
        ),
        Example(
            samples=({"text": "Write to ana.b@mail-house.net."},),
            reasons=(None,),
            knobs={"kinds": ["card", "ip"]},
        ),
    )
