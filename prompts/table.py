"""A web document rephrased as a table."""

import re
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from prompts import Draft, Example, Message, Refusal, Seed, TaskKind, assistant, user
from prompts._reply import clean
from prompts._sentences import cut_loop, cut_unfinished
from prompts._text import extract_topic

SHOWN = (
    "The new tram line opens in May. It has 14 stops and runs every ten minutes until midnight. "
    "The old one had 9 stops and ran every quarter of an hour until eleven."
)
EXAMPLE = """| What | Fact |
|---|---|
| opening of the line | May |
| stops of the new line | 14, five more than before |
| wait for a tram | ten minutes in place of fifteen |
| last tram | midnight |

Trams run more often and longer than before."""
_RULE = re.compile(r"\|?(?:\s*:?-{2,}:?\s*\|)+\s*(?::?-{2,}:?\s*)?")
SEED = {"text": "The ferry takes 3 cars and 4 bikes. The bus takes 2 bikes.", "topic": "ferries"}


def _ask(document: str) -> str:
    return (
        f"Document:\n{document}\n\n"
        "Put the facts of the document into one table with a header and four or five rows, a few "
        "words in each cell. Then say in one sentence what the table shows. Output only the table "
        "and this sentence."
    )


class Table(TaskKind):
    """A web document rephrased as a table, with a sentence on what it shows."""

    NEEDS: ClassVar[Mapping[str, type]] = {"text": str}

    min_rows: int = Field(2, ge=1)
    """Fewer rows below the header than this refuse the reply."""

    def messages(self, seed: Seed) -> list[Message]:
        return user(_ask(SHOWN)) + assistant(EXAMPLE) + user(_ask(str(seed["text"])))

    def parse(self, reply: str, seed: Seed) -> Draft | Refusal:
        found = clean(
            reply, seed, self.messages(seed), unfinished="keep", loops="keep", english=False
        )
        if isinstance(found, Refusal):
            return found
        lines = found.text.splitlines()
        start = next((n for n, line in enumerate(lines) if _RULE.fullmatch(line.strip())), 0)
        if not start:
            return Refusal("no_table")
        width = _cells(lines[start])
        end = start + 1
        while end < len(lines) and "|" in lines[end] and _cells(lines[end]) == width:
            if lines[end] in lines[start + 1 : end]:
                break
            end += 1
        looped = end < len(lines) and lines[end] in lines[start + 1 : end]
        broken = end < len(lines) - 1 and "|" in lines[end] and not looped
        if _cells(lines[start - 1]) != width or broken:
            return Refusal("ragged_table", lines[end] if broken else lines[start - 1])
        if end - start - 1 < self.min_rows:
            return Refusal("too_few_rows", f"{end - start - 1} different rows")
        table = "\n".join(lines[start - 1 : end])
        rest = "\n".join(lines[end:])
        if looped:
            return found.cut("loop", lambda _: (table, rest)).draft()
        after, cut = cut_unfinished(cut_loop(rest)[0])
        text = f"{table}\n\n{after.strip()}" if after.strip() else table
        return found.cut("unfinished", lambda _: (text, cut)).draft(text)

    def topic(self, seed: Seed) -> str:
        return extract_topic(seed)

    EXAMPLES: ClassVar[tuple[Example, ...]] = (
        Example(
            seed=SEED,
            reply="| Carrier | Bikes |\n|---|---|\n| ferry | 4 |\n| bus | 2 |\n\nTwo do so. Th",
            text="| Carrier | Bikes |\n|---|---|\n| ferry | 4 |\n| bus | 2 |\n\nTwo do so.",
            meta={"stripped": [{"rule": "unfinished", "text": "Th"}]},
        ),
        Example(
            seed=SEED,
            reply="Ferries:\n| What | Number |\n| --- | --- |\n| cars | 3 |\n| bikes | 4 |\n| oth",
            text="| What | Number |\n| --- | --- |\n| cars | 3 |\n| bikes | 4 |",
        ),
        Example(
            seed=SEED,
            reply="| What | Number |\n|---|---|\n| cars | 3 |\n| bikes | 4 |\n| cars | 3 |\n| cars",
            text="| What | Number |\n|---|---|\n| cars | 3 |\n| bikes | 4 |",
            meta={"stripped": [{"rule": "loop", "text": "| cars | 3 |\n| cars"}]},
        ),
        Example(seed=SEED, reply="The ferry takes 3 cars.", refused="no_table"),
        Example(
            seed=SEED,
            reply="| What | Number |\n|---|---|\n| cars |\n| bikes | 4 |\n| bus | 2 |",
            refused="ragged_table",
        ),
        Example(
            seed=SEED,
            reply="| What | Number |\n|---|---|\n| cars | 3 |",
            refused="too_few_rows",
        ),
    )


def _cells(line: str) -> int:
    return line.strip().strip("|").count("|") + 1
