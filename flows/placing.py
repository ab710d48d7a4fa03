"""Where a sample lies in an output: its tokens, and each packed row that holds some of them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from data.decoding import decode
from data.errors import DamagedPart, RecipeError
from data.parts import read_manifest
from data.schema import show_id
from data.store import fetch_all
from flows.stored import StoredBuild

FACTS = b"shardmill"
AROUND = 12
"""Tokens decoded on each side of one that is asked about."""


def placed(build: StoredBuild, output: str, place: int, id: int) -> dict[str, Any]:
    """The sample's tokens, what a gate said of it, and its rows in the output's shards."""
    tokens = build.stage(build.facts["outputs"][output]["tokens"])
    length, gate = _tokens(tokens.file(place), id)
    folder = build.out / "shards" / output
    fetch_all(folder, "*.arrow")
    manifest = read_manifest(folder)
    current = manifest is not None and tokens.path.name in manifest["inputs"]
    rows = list(_rows(folder, manifest, id)) if manifest and current else []
    return {
        "output": output,
        "tokens": length,
        "rejected": gate,
        "packed": current,
        "rows": rows,
    }


def _tokens(file: Path | None, id: int) -> tuple[int | None, dict[str, str] | None]:
    """How many tokens a part has of the sample, or why the template rejected it."""
    if file is None:
        return None, None
    try:
        with pa.memory_map(str(file)) as source:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
        own = pl.scan_ipc([file], glob=False).filter(pl.col("id") == pl.lit(id, pl.UInt64))
        lengths = own.select(pl.col("input_ids").list.len()).collect()["input_ids"]
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise DamagedPart(file) from error
    for shown, reason, detail in json.loads(metadata.get(FACTS, b"{}")).get("rejected", ()):
        if shown == show_id(id):
            return None, {"reason": reason, "detail": detail}
    return (int(lengths[0]) if len(lengths) else None), None


def _rows(folder: Path, manifest: dict[str, Any], id: int) -> Iterator[dict[str, Any]]:
    """Every fragment of the sample; of each shard the columns about documents alone are read."""
    for part in manifest["parts"]:
        file = folder / part["file"]
        about = pl.scan_ipc([file], glob=False).select("doc_ids", "doc_offsets", "seq_lengths")
        holds = pl.col("doc_ids").list.contains(pl.lit(id, pl.UInt64))
        try:
            found = about.with_row_index("row").filter(holds).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedPart(file) from error
        for row in found.iter_rows(named=True):
            borders = np.cumsum([0, *row["seq_lengths"]]).tolist()
            for fragment, owner in enumerate(row["doc_ids"]):
                if owner == id:
                    yield {
                        "split": part["split"],
                        "shard": f"{folder.name}/{file.name}",
                        "row": row["row"],
                        "start": borders[fragment],
                        "end": borders[fragment + 1],
                        "document_offset": row["doc_offsets"][fragment],
                    }


def is_address(text: str) -> bool:
    shard, _, place = text.partition(":")
    row, _, offset = place.partition(":")
    return bool(shard) and row.isdecimal() and offset.isdecimal()


def find_token(out: Path, address: str) -> tuple[int, dict[str, Any]]:
    """The sample that a SHARD:ROW:OFFSET lies in, and what stands there.

    SHARD is a shard's path, OUTPUT/FILE, or FILE where one output has it. Raises RecipeError.
    """
    name, row, offset = (text for text in address.split(":"))
    shard = _shard(out, name)
    manifest = read_manifest(shard.parent)
    if manifest is None:
        raise RecipeError("lies in no finished shards", where=str(shard))
    found = pl.scan_ipc([shard], glob=False).slice(int(row), 1).collect()
    if found.is_empty():
        rows = next(part["rows"] for part in manifest["parts"] if part["file"] == shard.name)
        raise RecipeError(
            f"has no row {row}", where=str(shard), fix=f"its rows are 0 to {rows - 1}"
        )
    packed, at = found.row(0, named=True), int(offset)
    if at >= packed["n_tokens"]:
        what = "is padding" if at < manifest["sequence_length"] else "lies behind the row"
        fix = f"its tokens are 0 to {packed['n_tokens'] - 1}"
        raise RecipeError(f"token {at} of row {row} {what}", where=str(shard), fix=fix)
    borders = np.cumsum([0, *packed["seq_lengths"]])
    fragment = int(np.searchsorted(borders, at, "right")) - 1
    start, stop = int(borders[fragment]), int(borders[fragment + 1])
    spans = packed.get("loss_spans")
    pairs = zip(spans[::2], spans[1::2], strict=True) if spans is not None else ()
    return packed["doc_ids"][fragment], {
        "shard": f"{shard.parent.name}/{shard.name}",
        "row": int(row),
        "offset": at,
        "in_document": packed["doc_offsets"][fragment] + at - start,
        "trained": spans is None or any(a <= at < b for a, b in pairs),
        **_decoded(shard, manifest, packed["input_ids"], start, at, stop),
    }


def _decoded(
    shard: Path, manifest: dict[str, Any], ids: list[int], start: int, at: int, stop: int
) -> dict[str, str]:
    pieces = {
        "before": ids[max(start, at - AROUND) : at],
        "token": [ids[at]],
        "after": ids[at + 1 : min(stop, at + 1 + AROUND)],
    }
    return dict(
        zip(pieces, decode(_tokenizer(shard, manifest), list(pieces.values())), strict=True)
    )


def _tokenizer(shard: Path, manifest: dict[str, Any]) -> bytes:
    """The tokenizer.json that a finished build keeps beside the shards."""
    with contextlib.suppress(OSError):
        return shard.with_name("tokenizer.json").read_bytes()
    from data.tokenization import load_tokenizer  # noqa: PLC0415 - half a second, for this alone

    about = manifest["tokenizer"]
    return load_tokenizer(about["name"], tuple(about.get("added", ()))).json().encode()


def _shard(out: Path, name: str) -> Path:
    fetch_all(out / "shards", "*.arrow")
    found = [path for path in (out / "shards" / name, Path(name)) if path.is_file()]
    found = found[:1] or sorted(path for path in out.glob("shards/*/*.arrow") if path.name == name)
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{p.parent.name}/{p.name}" for p in sorted(out.glob("shards/*/*.arrow"))[:6])
    what = "is in several outputs" if found else "is no shard here"
    raise RecipeError(f"{name} {what}", where=str(out), fix=f"there are {known or 'none yet'}")
