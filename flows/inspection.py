"""Look at shards: schema, counts, lengths, rows with document borders and trained tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
from rich.console import Console
from rich.text import Text

from data.errors import RecipeError, SourceError
from data.parts import read_manifest
from data.schema import show_id
from data.shards import shard_files
from data.store import fetch_all, open_path
from data.tokenization import Tokenizer, load_tokenizer
from flows.showing import one_line, visible

BARS = " ▁▂▃▄▅▆▇█"
TRAINED, MASKED, BORDER = "green", "dim", "cyan"


@dataclass(frozen=True)
class Ask:
    """Which rows are shown and how: spread evenly, or a seeded sample of those that match."""

    where: pl.Expr | None = None
    rows: int = 2
    sample: bool = False
    seed: int = 0
    whole: bool = False
    width: int = 100

    def choose(self, total: int) -> list[int]:
        """Numbers of the rows to show, ascending."""
        count = min(self.rows, total)
        if self.sample:
            chosen = np.random.default_rng(self.seed).choice(total, count, replace=False)
        else:
            chosen = np.linspace(0, total - 1, count).astype(np.int64)
        return sorted(set(chosen.tolist()))


def find_outputs(path: Path) -> list[Path]:
    """The folders with shards at or below `path`. Raises SourceError where there is none."""
    path = open_path(path)
    candidates = [path, *path.glob("*"), *path.glob("shards/*")] if path.is_dir() else []
    found = sorted({p for p in candidates if "splits" in (read_manifest(p) or {})})
    if not found:
        raise SourceError(
            "holds no finished shards",
            where=str(path),
            fix="give a build's folder, such as runs/demo, or its shards folder",
        )
    for folder in found:
        fetch_all(folder, "*.arrow")
    return found


def scan(folder: Path, split: str) -> pl.LazyFrame:
    """The split's rows; brackets and stars in the folder's name are no pattern."""
    files = fetch_all(folder, f"{split}-*-of-*.arrow")
    return pl.scan_ipc(files, glob=False)


def shards_facts(folder: Path) -> dict[str, Any]:
    """Schema, counts, fill and the histogram of fragment lengths of each split."""
    manifest = read_manifest(folder) or {}
    with pa.memory_map(str(shard_files(folder)[0])) as source:
        columns = {column.name: str(column.type) for column in pa.ipc.open_file(source).schema}
    return {
        "path": str(folder),
        "what": "shards",
        "recipe": manifest["recipe"],
        "packing": manifest["packing"],
        "schema": columns,
        "splits": {split: _split(folder, split, manifest) for split in manifest["splits"]},
    }


def _split(folder: Path, split: str, manifest: dict[str, Any]) -> dict[str, Any]:
    shards = scan(folder, split)
    counted = shards.select(
        rows=pl.len(),
        tokens=pl.col("n_tokens").sum(),
        fragments=pl.col("doc_ids").list.len().sum(),
    ).collect()
    found = counted.row(0, named=True)
    room = found["rows"] * manifest["sequence_length"]
    lengths = shards.select(pl.col("seq_lengths").list.head(pl.col("doc_ids").list.len()).explode())
    values = lengths.collect()["seq_lengths"].drop_nulls().to_numpy()
    counts, edges = np.histogram(values, bins=24)
    return {
        **found,
        "fill": found["tokens"] / room if room else 0.0,
        "lengths": {
            "counts": counts.tolist() if len(values) else [],
            "edges": edges.tolist(),
            "median": int(np.median(values)) if len(values) else None,
        },
        "sources": manifest["splits"][split]["sources"],
    }


def show_shards(facts: dict[str, Any], screen: Console) -> None:
    head = f"{facts['path']}  (recipe {facts['recipe']}, {facts['packing']})"
    screen.print(head, style="bold", markup=False)
    screen.print("schema", style="bold")
    for name, kind in facts["schema"].items():
        screen.print(f"  {name}: {kind}", markup=False)
    for split, found in facts["splits"].items():
        screen.print(
            f"{split}: {found['rows']:,} rows, {found['tokens']:,} tokens, "
            f"fill {found['fill']:.2%}, {found['fragments']:,} fragments",
            style="bold",
        )
        lengths = found["lengths"]
        if counts := lengths["counts"]:
            bars = "".join(BARS[int(np.ceil(c / max(counts) * 8))] for c in counts)
            first, last = int(lengths["edges"][0]), int(lengths["edges"][-1])
            screen.print(f"  fragment length {first} {bars} {last}, median {lengths['median']}")
        for name, share in found["sources"].items():
            screen.print(f"  {name}: {share['documents']:,} documents, {share['tokens']:,} tokens")


def chosen_rows(folder: Path, ask: Ask) -> tuple[int, list[dict[str, Any]]]:
    """How many packed rows match, and those to show, each with its `shard` and `row`."""
    numbers: list[tuple[Path, int]] = []
    for path in shard_files(folder):
        rows = pl.scan_ipc([path], glob=False).with_row_index("row")
        if ask.where is not None:
            rows = filtered(rows, ask.where, folder)
        found = rows.select("row").collect()["row"].to_list()
        numbers += [(path, row) for row in found]
    shown = []
    for number in ask.choose(len(numbers)):
        path, row = numbers[number]
        (packed,) = pl.scan_ipc([path], glob=False).slice(row, 1).collect().to_dicts()
        shown.append({"shard": f"{folder.name}/{path.name}", "row": row, **packed})
    return len(numbers), shown


def filtered(rows: pl.LazyFrame, where: pl.Expr, place: Path) -> pl.LazyFrame:
    """Raises RecipeError for an expression that these rows cannot answer."""
    kept = rows.filter(where)
    try:
        kept.collect_schema()
    except pl.exceptions.PolarsError as error:
        names = ", ".join(name for name in rows.collect_schema() if name != "row")
        raise RecipeError(
            f"--where fails: {str(error).partition(chr(10))[0].partition('; valid')[0]}",
            where=str(place),
            fix=f"the columns are {names}",
        ) from error
    return kept


def row_tokenizer(folder: Path) -> Tokenizer:
    about = (read_manifest(folder) or {})["tokenizer"]
    return load_tokenizer(about["name"], tuple(about.get("added", ())))


def fragments(row: dict[str, Any], sources: Sequence[str]) -> list[dict[str, Any]]:
    """The documents of a packed row: `id`, `source`, `from` (its first token here), `input_ids`
    and, where loss is masked, `spans` of trained tokens within them."""
    found, start = [], 0
    packed = zip(
        row["doc_ids"], row["doc_offsets"], row["source_ids"], row["seq_lengths"], strict=False
    )
    for id, offset, source, length in packed:
        stop = start + length
        spans = row.get("loss_spans")
        if spans is not None:
            pairs = zip(spans[::2], spans[1::2], strict=True)
            spans = [[max(a, start) - start, min(b, stop) - start] for a, b in pairs]
            spans = [[a, b] for a, b in spans if a < b]
        found.append(
            {
                "id": show_id(id),
                "source": sources[source],
                "from": offset,
                "input_ids": row["input_ids"][start:stop],
                "spans": spans,
            }
        )
        start = stop
    return found


def show_row(
    row: dict[str, Any], manifest: dict[str, Any], tokenizer: Tokenizer, ask: Ask, screen: Console
) -> None:
    screen.print(f"row {row['shard']}:{row['row']}", style="bold", markup=False)
    for found in fragments(row, manifest["sources"]):
        part = f" from token {found['from']}" if found["from"] else ""
        about = f"{found['id']} {found['source']}, {len(found['input_ids'])} tokens{part}"
        show_tokens(about, found["input_ids"], found["spans"], tokenizer, ask, screen)
    left = manifest["sequence_length"] - row["n_tokens"]
    if left:
        border(f"padding, {left} ids", screen)


def show_tokens(
    about: str,
    ids: list[int],
    spans: list[list[int]] | None,
    tokenizer: Tokenizer,
    ask: Ask,
    screen: Console,
) -> None:
    """A document's border and its text, the trained tokens in another colour than the rest."""
    clean = visible if ask.whole else one_line
    text = Text()
    if spans is None:
        text.append(clean(tokenizer.decode(ids)))
    else:
        about += f", {sum(b - a for a, b in spans)} trained"
        at = 0
        for start, stop in [*spans, [len(ids), len(ids)]]:
            text.append(clean(tokenizer.decode(ids[at:start])), style=MASKED)
            text.append(clean(tokenizer.decode(ids[start:stop])), style=TRAINED)
            at = stop
    if not ask.whole and len(text) > 2 * ask.width:
        text = text[: ask.width] + Text(" … ") + text[len(text) - ask.width :]
    border(about, screen)
    screen.print(Text("  ") + text)


def border(about: str, screen: Console) -> None:
    line = f"  ── {about} "
    rest = "─" * max(0, screen.width - len(line)) if screen.is_terminal else ""
    screen.print(Text((line + rest).rstrip(), style=BORDER))
