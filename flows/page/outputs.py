"""What the page says of an output: its splits, and how its training rows are packed."""

from typing import Any

import polars as pl

from data.errors import DamagedPart
from flows.inspection import scan
from flows.page.stored import Stored


def of_output(build: Stored, output: dict[str, Any]) -> dict[str, Any]:
    """One output's counts, and how full its training rows are."""
    folder = build.out / output["shards"]
    manifest = build.manifest(output["shards"])
    size = manifest["sequence_length"]
    rows = scan(folder, "train")
    share = (pl.col("n_tokens").cast(pl.Int64) * 20 // size).clip(upper_bound=19)
    try:
        fill = rows.group_by(bin=share).len().sort("bin").collect()
        held = rows.group_by(documents=pl.col("doc_ids").list.len().cast(pl.Int64)).len()
        documents = held.sort("documents").collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedPart(folder) from error
    counts = dict(fill.iter_rows())
    bins = [{"from": n * 5, "to": n * 5 + 5, "rows": counts.get(n, 0)} for n in range(20)]
    files = [part["file"] for part in manifest["parts"]]
    return {
        "name": output["name"],
        "folder": output["shards"],
        "manifest": manifest,
        "splits": manifest["splits"],
        "fill": bins,
        "documents": _grouped(dict(documents.iter_rows())),
        "files": [*files, "manifest.json", "README.md", "tokenizer.json"],
        "licences": manifest["rendering"]["licences"],
    }


def _grouped(counts: dict[int, int]) -> list[dict[str, Any]]:
    """Rows by their documents, in at most some twenty bins of equal width."""
    if not counts:
        return []
    width = -(-max(counts) // 20)
    bins: dict[int, int] = {}
    for documents, rows in counts.items():
        bins[(documents - 1) // width] = bins.get((documents - 1) // width, 0) + rows
    return [
        {"from": n * width + 1, "to": (n + 1) * width, "rows": bins.get(n, 0)}
        for n in range(max(bins) + 1)
    ]
