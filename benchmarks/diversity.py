"""How alike the samples of a build are, kind by kind: openings, distinct n-grams, similarity.

    python -m benchmarks.diversity runs/demo
    python -m benchmarks.diversity runs/demo --json figures.json

Prints a table and stores it as JSON, in OUT/diversity.json where --json does not say otherwise.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl

from data.parts import read_manifest
from filters.texts import body
from flows.diversity import LOOKED_AT, measure

COLUMNS = ("samples", "opening_share", "distinct_1", "distinct_2", "distinct_3", "self_similarity")


def samples_of(out: Path) -> dict[str, pl.Series]:
    """The texts of each kind that parsing took, of all finished sample stages under OUT, in the
    order of their ids (hashes), so that the first ones are a fair sample."""
    frames = []
    for folder in sorted(out.glob("stages/samples.*")):
        if read_manifest(folder) is None:
            continue
        columns = ["id", "kind", "text", "messages"]
        samples = pl.read_parquet(folder / "part-*.parquet", columns=columns)
        refused = pl.read_parquet(folder / "verdicts-*.parquet", columns=["id"])
        frames.append(samples.join(refused, on="id", how="anti"))
    if not frames:
        raise SystemExit(f"{out} holds no finished samples: give the --out of a build")
    taken = pl.concat(frames).unique("id").sort("id")
    kinds = taken.partition_by("kind", as_dict=True)
    return {str(kind): body(kinds[kind,]).head(LOOKED_AT) for (kind,) in sorted(kinds)}


def main() -> None:
    parser = argparse.ArgumentParser(description="How alike the samples of a build are.")
    parser.add_argument("out", type=Path, help="a build's folder, such as runs/demo")
    parser.add_argument("--json", type=Path, help="where the figures go; OUT/diversity.json")
    given = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {
        kind: measure(texts) for kind, texts in samples_of(given.out).items()
    }
    widest = max(map(len, figures))
    print(f"{'kind':<{widest}}  {'  '.join(f'{name:>15}' for name in COLUMNS)}  opening")
    for kind, row in figures.items():
        cells = "  ".join(f"{row[name]:>15,.4g}" for name in COLUMNS)
        print(f"{kind:<{widest}}  {cells}  {row['opening']}")
    path = given.json or given.out / "diversity.json"
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(f"stored in {path}")


if __name__ == "__main__":
    main()
