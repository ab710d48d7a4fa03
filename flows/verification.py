"""Test what lies in a folder against its manifests and the invariants of packed rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import DamagedPart, SourceError
from data.parts import MANIFEST, PART, drop, read_manifest, sha256_file
from data.shards import shard_files
from flows.inspection import scan

Wrong = tuple[Path, str]
"""A file and what is wrong with it."""


def verify_folder(path: Path) -> tuple[int, list[Wrong]]:
    """How many files were tested, and what is wrong. Raises SourceError for no build at all."""
    folders = sorted({found.parent for found in path.rglob("*") if _ours(found)})
    if not folders:
        raise SourceError("holds no manifest to test against", where=str(path))
    checked: int = 0
    wrong: list[Wrong] = []
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest is None:
            if (folder / MANIFEST).is_file():
                wrong.append((folder / MANIFEST, "is no manifest"))
                checked += 1
            elif folder.parent.name == "shards":
                wrong.append((folder / MANIFEST, "is missing beside shards"))
            continue  # a stage under way has none yet
        files = [_wrong_file(folder / part["file"], part) for part in manifest["parts"]]
        checked += len(files)
        found = [problem for problem in files if problem]
        if "splits" in manifest and not found:
            found = list(_wrong_rows(folder, manifest))
        wrong += found
    return checked, wrong


def _ours(path: Path) -> bool:
    return path.name == MANIFEST or PART.fullmatch(path.name) is not None


def _wrong_file(path: Path, part: dict[str, Any]) -> Wrong | None:
    if not path.is_file():
        return path, "is missing"
    return None if sha256_file(path) == part["sha256"] else (path, "differs from its checksum")


def drop_wrong(wrong: list[Wrong]) -> None:
    for path, _ in wrong:
        drop(DamagedPart(path))


def _wrong_rows(folder: Path, manifest: dict[str, Any]) -> Iterator[Wrong]:
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
        rows = pl.scan_ipc([path], glob=False)
        counts = rows.select(**{name: test.sum() for name, test in tests.items()}).collect()
        for name, count in counts.row(0, named=True).items():
            if count:
                yield path, f"has {count} rows with {name}"
    ids = [
        set(scan(folder, split).select(pl.col("doc_ids").explode()).collect()["doc_ids"])
        for split in manifest["splits"]
    ]
    both = set.intersection(*ids) - {None} if len(ids) > 1 else set()
    if both:
        yield folder / MANIFEST, f"has {len(both)} documents in both splits"
