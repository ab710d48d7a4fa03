"""Remove what chat models put around a text."""

from typing import ClassVar

import polars as pl

from filters import Cleaner, Example

_BEFORE = (
    r"(?i)\A\s*(?:sure|certainly|of course|absolutely|okay|ok|great|happy to help)\b[!,.:]"
    r"[^\n]{0,200}?(?::[ \t]*\n+|\n\n+)",
    r"(?i)\A\s*here(?:'|’)?(?:s| is| are) (?:a|an|the|your|some|my)\b[^\n]{0,200}:[ \t]*\n+",
    r"(?i)\A\s*(?:title|introduction)\s*:?[ \t]*\n+",
)
_BEHIND = (
    r"(?i)\n+\s*(?:i hope (?:this|that|it) (?:helps|was helpful)|let me know if you|feel free to "
    r"(?:ask|reach out)|please let me know|is there anything else)[^\n]{0,300}\s*\z",
    r"(?i)\n+\s*(?:-{3,}|\*{3,})?\s*\(?word count:? \d+(?: words)?\)?\s*\z",
)


class StripBoilerplate(Cleaner):
    """Remove what chat models put around a text: "Sure, here is ...", "I hope this helps!"."""

    more: tuple[str, ...] = ()
    """Further regular expressions whose matches are removed."""

    def clean(self, texts: pl.Series) -> pl.Series:
        for pattern in (*_BEFORE, *_BEHIND, *self.more):
            texts = texts.str.replace(pattern, "")
        return texts

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            samples=(
                {"text": "Sure! Here is a story:\n\nA fox ran.\n\nI hope this helps!"},
                {"text": "Here's the summary you asked for:\nFoxes run."},
                {"text": "Foxes run.\n\n(Word count: 2)"},
                {"text": "Sure, foxes run. They run far.\nI hope this helps them."},
                {"text": "Here is where it ends."},
            ),
            cleaned=(
                "A fox ran.",
                "Foxes run.",
                "Foxes run.",
                "Sure, foxes run. They run far.",
                "Here is where it ends.",
            ),
        ),
    )
