"""Test what lies in a folder against its manifests and the invariants of packed rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import DamagedPart, SourceError
from data.parts import MANIFEST, PART, drop, read_manifest
from data.shards import shard_files
from data.store import fetch_all, open_path, sha256_of
from flows.inspection import scan

Wrong = tuple[Path, str]
"""A file and what is wrong with it."""


def verify_folder(path: Path) -> tuple[int, list[Wrong]]:
    """How many files were tested, and what is wrong. Raises SourceError for no build at all."""
    path = open_path(path)
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
    found = sha256_of(path)
    if found is None:
        return path, "is missing"
    return None if found == part["sha256"] else (path, "differs from its checksum")


def drop_wrong(wrong: list[Wrong]) -> None:
    for path, _ in wrong:
        drop(DamagedPart(path))


def _wrong_rows(folder: Path, manifest: dict[str, Any]) -> Iterator[Wrong]:
    """The invariants that a trainer relies on, by polars over each shard."""
    known = _known_ids(folder, manifest)
    about = {part["file"]: part for part in manifest["parts"]}
    for path in shard_files(folder):
        rows = pl.scan_ipc([path], glob=False)
        masked = "loss_spans" in rows.collect_schema()
        tests = _row_tests(manifest, masked=masked)
        counts = rows.select(**{name: test.sum() for name, test in tests.items()}).collect()
        for name, count in counts.row(0, named=True).items():
            if count:
                yield path, f"has {count} rows with {name}"
        counted = {"rows": pl.len(), "tokens": pl.col("n_tokens").sum()}
        if masked:
            spans = pl.col("loss_spans").explode().cast(pl.Int64)
            counted["trained"] = spans.gather_every(2, 1).sum() - spans.gather_every(2).sum()
        found = rows.select(**counted).collect().row(0, named=True)
        for name, count in found.items():
            if path.name in about and count != about[path.name].get(name, count):
                yield path, f"has {count} {name}, not {about[path.name][name]}"
        if known is not None:
            ids = rows.select(id=pl.col("doc_ids").explode().drop_nulls()).unique().collect()
            unknown = len(ids.join(known, on="id", how="anti"))
            if unknown:
                yield path, f"has {unknown} documents that the tokens stage does not know"
    sides = [
        scan(folder, split).select(id=pl.col("doc_ids").explode().drop_nulls()).unique()
        for split in manifest["splits"]
    ]
    if len(sides) > 1:
        both = sides[0].join(sides[1], on="id", how="semi").select(pl.len()).collect().item()
        if both:
            yield folder / MANIFEST, f"has {both} documents in both splits"


def _row_tests(manifest: dict[str, Any], *, masked: bool) -> dict[str, pl.Expr]:
    """What is wrong with a row, and the expression that tells."""
    size, vocabulary = manifest["sequence_length"], manifest["tokenizer"]["vocabulary"]
    ids, tokens = pl.col("input_ids").arr, pl.col("n_tokens")
    fragments = pl.col("doc_ids").list.len()
    padding = (tokens < size).cast(pl.UInt32)
    real = pl.col("seq_lengths").list.head(fragments).list.sum()
    tests = {
        f"seq_lengths that do not add up to {size}": pl.col("seq_lengths").list.sum() != size,
        "ids outside the vocabulary": (ids.max() >= vocabulary) | (ids.min() < 0),
        "fragments without a length": pl.col("seq_lengths").list.len() != fragments + padding,
        "fragments that do not add up to n_tokens": real != tokens,
        "doc_offsets of other fragments": pl.col("doc_offsets").list.len() != fragments,
        "source_ids of other fragments": pl.col("source_ids").list.len() != fragments,
        "unknown sources": pl.col("source_ids").list.max() >= len(manifest["sources"]),
    }
    if masked:
        spans = pl.col("loss_spans")
        steps = spans.list.eval(pl.element().cast(pl.Int64).diff().drop_nulls()).list.min()
        tests["loss_spans outside the row"] = spans.list.max() > tokens
        tests["loss_spans without an end"] = spans.list.len() % 2 != 0
        tests["loss_spans out of order"] = steps < 0
    return tests


def _known_ids(folder: Path, manifest: dict[str, Any]) -> pl.DataFrame | None:
    """The documents of the tokens stage that the shards were packed from; None where the
    shards lie apart from their build, or a token part is damaged, which is said of the part."""
    (stage,) = manifest["inputs"]
    try:
        files = fetch_all(folder.parent.parent / "stages" / stage, "part-*.arrow")
        if not files:
            return None
        return pl.scan_ipc(files, glob=False).select("id").unique().collect()
    except (pl.exceptions.PolarsError, DamagedPart):
        return None
