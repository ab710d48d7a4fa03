"""Look at shards: schema, counts, lengths, rows with their document borders."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
from rich.console import Console

from data.errors import SourceError
from data.parts import read_manifest
from data.schema import show_id
from data.shards import shard_files
from data.tokenization import load_tokenizer

BARS = " ▁▂▃▄▅▆▇█"


def find_outputs(path: Path) -> list[Path]:
    """The folders with shards at or below `path`. Raises SourceError where there is none."""
    candidates = [path, *path.glob("*"), *path.glob("shards/*")] if path.is_dir() else []
    found = sorted({p for p in candidates if "splits" in (read_manifest(p) or {})})
    if not found:
        raise SourceError(
            "holds no finished shards",
            where=str(path),
            fix="give a build's folder, such as runs/demo, or its shards folder",
        )
    return found


def scan(folder: Path, split: str) -> pl.LazyFrame:
    """The split's rows; brackets and stars in the folder's name are no pattern."""
    files = sorted(folder.glob(f"{split}-*-of-*.arrow"))
    return pl.scan_ipc(files, glob=False)


def inspect_shards(path: Path, rows: int, width: int, screen: Console) -> None:
    for folder in find_outputs(path):
        manifest = read_manifest(folder) or {}
        head = f"{folder}  (recipe {manifest['recipe']}, {manifest['packing']})"
        screen.print(head, style="bold", markup=False)
        screen.print("schema", style="bold")
        with pa.memory_map(str(shard_files(folder)[0])) as source:
            for column in pa.ipc.open_file(source).schema:
                screen.print(f"  {column.name}: {column.type}", markup=False)
        for split in manifest["splits"]:
            _show_split(folder, split, manifest, screen)
        _show_rows(folder, manifest, rows, width, screen)


def _show_split(folder: Path, split: str, manifest: dict[str, Any], screen: Console) -> None:
    shards = scan(folder, split)
    counted = shards.select(
        rows=pl.len(),
        tokens=pl.col("n_tokens").sum(),
        fragments=pl.col("doc_ids").list.len().sum(),
    ).collect()
    rows, tokens, fragments = counted.row(0)
    fill = tokens / (rows * manifest["sequence_length"]) if rows else 0.0
    screen.print(
        f"{split}: {rows:,} rows, {tokens:,} tokens, fill {fill:.2%}, {fragments:,} fragments",
        style="bold",
    )
    lengths = shards.select(pl.col("seq_lengths").list.head(pl.col("doc_ids").list.len()).explode())
    values = lengths.collect()["seq_lengths"].drop_nulls().to_numpy()
    if len(values):
        counts, edges = np.histogram(values, bins=24)
        bars = "".join(BARS[int(np.ceil(c / counts.max() * 8))] for c in counts)
        screen.print(
            f"  fragment length {int(edges[0])} {bars} {int(edges[-1])}, "
            f"median {int(np.median(values))}"
        )
    for name, share in manifest["splits"][split]["sources"].items():
        screen.print(f"  {name}: {share['documents']:,} documents, {share['tokens']:,} tokens")


def _show_rows(
    folder: Path, manifest: dict[str, Any], rows: int, width: int, screen: Console
) -> None:
    tokenizer = load_tokenizer(
        manifest["tokenizer"]["name"], tuple(manifest["tokenizer"].get("added", ()))
    )
    shards = scan(folder, "train")
    total = shards.select(pl.len()).collect().item()
    shown = min(rows, total)
    for number in sorted({int(n) for n in np.linspace(0, total - 1, shown)} if shown else ()):
        row = shards.slice(number, 1).collect().row(0, named=True)
        screen.print(f"row {number}", style="bold")
        start = 0
        ends = zip(
            row["doc_ids"], row["doc_offsets"], row["source_ids"], row["seq_lengths"], strict=False
        )
        for id, offset, source, length in ends:
            text = tokenizer.decode(row["input_ids"][start : start + length])
            part = f" from token {offset}" if offset else ""
            screen.print(
                f"  ── {show_id(id)} {manifest['sources'][source]}, {length} tokens{part}",
                style="cyan",
                markup=False,
            )
            screen.print(f"  {_ends(text, width)}", markup=False)
            start += length
        left = manifest["sequence_length"] - row["n_tokens"]
        if left:
            screen.print(f"  ── padding, {left} ids", style="cyan")


def _ends(text: str, width: int) -> str:
    """The start and the end of a text on one line, control characters made visible."""
    shown = text if len(text) <= 2 * width else f"{text[:width]} … {text[-width:]}"
    escaped = shown.replace("\n", "⏎")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)
