"""Builds that are too large to run here, from the rates of those that were.

    python benchmarks/on_paper.py

Prints the tables of docs/scaling.md. Rates are of one core of the machine that ran
`benchmarks/scale.py` and `benchmarks/dedup_exchange.py`; a test holds the page to this output.
"""

from dataclasses import dataclass

CORES, GPUS = 64, 8
"""Of a machine."""
BANDS, KEY_BYTES = 32, 16
SORT_SECONDS = 0.344
"""CPU seconds to pair a million keys of a band."""
PAIRED_BYTES = 41
"""Held for a key while it is paired."""
FOUND_BYTES = 90
"""Held for a document while one process finds all pairs: ids, marks, a band's keys and their
order."""
PACK_BYTES = 213
"""Held for a document while an output is packed."""
RATES = {
    "reading": 0.140,
    "length and exact duplicates": 0.067,
    "near-duplicates": 0.129,
    "tokens, shards, report": 0.104,
}
"""CPU seconds a million tokens."""
BYTES = {"completions and samples": 8.4, "token parts": 2.3, "shards": 2.5}
"""On disk a token."""


@dataclass(frozen=True)
class Work:
    name: str
    documents: float
    generated: float
    """Tokens of replies."""
    trained: float
    """Tokens of the shards."""
    rate: float
    """Reply tokens a second of a GPU."""


WORKS = (
    Work("cosmo-1b", 31.0e6, 24.8e9, 30.0e9, 694),
    Work("FinePhrase", 1.35e9, 486e9, 486e9, 9200),
)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def tables() -> list[str]:
    return [table(work) for work in WORKS]


def table(work: Work) -> str:
    gpu_hours = work.generated / work.rate / 3600
    lines = [
        row(work.name, "in all", f"a machine of {GPUS} GPUs and {CORES} cores", "10 machines"),
        row("---", "---:", "---:", "---:"),
        row(
            "generation",
            f"{gpu_hours:,.0f} GPU hours",
            f"{gpu_hours / GPUS / 24:,.1f} days",
            f"{gpu_hours / GPUS / 24 / 10:,.1f} days",
        ),
    ]
    total = 0.0
    for stage, seconds in RATES.items():
        hours = work.trained / 1e6 * seconds / 3600
        total += hours
        lines.append(
            row(
                stage,
                f"{hours:,.1f} CPU hours",
                f"{hours / CORES * 60:,.0f} min",
                f"{hours / CORES * 6:,.1f} min",
            )
        )
    pairing = work.documents * BANDS / 1e6 * SORT_SECONDS / 3600
    lines += [
        row(
            "pairing keys, one process",
            f"{pairing:,.2f} CPU hours",
            f"{pairing * 60:,.0f} min",
            "the same",
        ),
        row("its memory", f"{work.documents * FOUND_BYTES / 1e9:,.1f} GB", "", ""),
        row("packing's memory", f"{work.documents * PACK_BYTES / 1e9:,.1f} GB", "", ""),
        row(
            "sketches on disk, given back",
            f"{work.documents * (BANDS * 8 + 32) / 1e9:,.0f} GB",
            "",
            "",
        ),
        row(
            "keys over a network, were they exchanged",
            f"{work.documents * BANDS * KEY_BYTES * 0.9 / 1e9:,.0f} GB",
            "",
            f"{work.documents * BANDS * KEY_BYTES * 0.9 / 1e10:,.0f} GB each",
        ),
    ]
    for what, size in BYTES.items():
        tokens = work.generated if what.startswith("compl") else work.trained
        lines.append(row(f"{what} on disk", f"{tokens * size / 1e12:,.2f} TB", "", ""))
    return "\n".join(lines)


if __name__ == "__main__":
    print("\n\n".join(tables()))
