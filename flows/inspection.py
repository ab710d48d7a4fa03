"""Look at shards and test them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
from rich.console import Console

from data.errors import SourceError
from data.parts import MANIFEST
from data.schema import show_id
from data.shards import shard_files
from data.tokenization import load_tokenizer

BARS = " ▁▂▃▄▅▆▇█"


def find_outputs(path: Path) -> list[Path]:
    """The folders with shards at or below `path`. Raises SourceError where there is none."""
    candidates = [path, *path.glob("*"), *path.glob("shards/*")] if path.is_dir() else []
    found = sorted({p for p in candidates if (p / MANIFEST).is_file() and shard_files(p)})
    if not found:
        raise SourceError(
            "holds no finished shards",
            where=str(path),
            fix="give a build's folder, such as runs/demo, or its shards folder",
        )
    return found


def inspect_shards(path: Path, rows: int, width: int, screen: Console) -> None:
    for folder in find_outputs(path):
        manifest = json.loads((folder / MANIFEST).read_bytes())
        screen.print(
            f"{folder}  (recipe {manifest['recipe']}, {manifest['packing']})", style="bold"
        )
        screen.print("schema", style="bold")
        with pa.memory_map(str(shard_files(folder)[0])) as source:
            for column in pa.ipc.open_file(source).schema:
                screen.print(f"  {column.name}: {column.type}", markup=False)
        for split in manifest["splits"]:
            _show_split(folder, split, manifest, screen)
        _show_rows(folder, manifest, rows, width, screen)


def _show_split(folder: Path, split: str, manifest: dict[str, Any], screen: Console) -> None:
    scan = pl.scan_ipc(str(folder / f"{split}-*.arrow"))
    counted = scan.select(
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
    lengths = scan.select(pl.col("seq_lengths").list.head(pl.col("doc_ids").list.len()).explode())
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
    tokenizer = load_tokenizer(manifest["tokenizer"]["name"])
    scan = pl.scan_ipc(str(folder / "train-*.arrow"))
    total = scan.select(pl.len()).collect().item()
    for number in sorted({int(n) for n in np.linspace(0, max(0, total - 1), rows)} if rows else ()):
        row = scan.slice(number, 1).collect().row(0, named=True)
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


def verify_folder(path: Path) -> tuple[int, list[str]]:
    """How many files were tested, and a line for each that is wrong."""
    manifests = sorted(path.rglob(MANIFEST)) if path.is_dir() else []
    if not manifests:
        raise SourceError("holds no manifest to test against", where=str(path))
    checked, wrong = 0, []
    for manifest_path in manifests:
        manifest = json.loads(manifest_path.read_bytes())
        for part in manifest["parts"]:
            checked += 1
            wrong += _wrong_file(manifest_path.parent / part["file"], part)
        if "splits" in manifest and not wrong:
            wrong += list(_wrong_rows(manifest_path.parent, manifest))
    return checked, wrong


def _wrong_file(path: Path, part: dict[str, Any]) -> list[str]:
    if not path.is_file():
        return [f"{path} is missing"]
    with open(path, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    return [] if found == part["sha256"] else [f"{path} differs from its checksum"]


def _wrong_rows(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """The invariants that a trainer relies on, by polars over each shard."""
    size, vocabulary = manifest["sequence_length"], manifest["tokenizer"]["vocabulary"]
    fragments = pl.col("doc_ids").list.len()
    padding = (pl.col("n_tokens") < size).cast(pl.UInt32)
    tests = {
        f"seq_lengths that do not add up to {size}": pl.col("seq_lengths").list.sum() != size,
        "ids beyond the vocabulary": pl.col("input_ids").arr.max() >= vocabulary,
        "fragments without a length": pl.col("seq_lengths").list.len() != fragments + padding,
        "doc_offsets of other fragments": pl.col("doc_offsets").list.len() != fragments,
        "unknown sources": pl.col("source_ids").list.max() >= len(manifest["sources"]),
    }
    for path in shard_files(folder):
        counts = (
            pl.scan_ipc(path).select(**{name: test.sum() for name, test in tests.items()}).collect()
        )
        for name, count in counts.row(0, named=True).items():
            if count:
                yield f"{path} has {count} rows with {name}"
    ids = {
        split: set(
            pl.scan_ipc(str(folder / f"{split}-*.arrow"))
            .select(pl.col("doc_ids").explode().unique())
            .collect()["doc_ids"]
            .drop_nulls()
        )
        for split in manifest["splits"]
    }
    both = set.intersection(*ids.values()) if len(ids) > 1 else set()
    if both:
        yield f"{folder} has {len(both)} documents in both splits"
