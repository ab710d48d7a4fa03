"""Packed rows to Arrow shards with a manifest that accounts for every token."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data import packing
from data.formats import to_arrow
from data.gather import TokenParts, packed_rows
from data.mixing import Amount, Documents, plan_mix, repeat, split
from data.parts import Stage, write_file
from data.schema import id_type, packed_schema
from data.tokenization import Tokenizer

SPLITS = ("train", "validation")
FACTS = b"shardmill"
"""Key in a token part's schema metadata: counts of the part as JSON."""


@dataclass(frozen=True)
class Layout:
    """What decides the rows of an output besides its documents.

    `mix` names each source's amount; a source that it leaves out counts once. `too_long`
    conversations are cut at a turn or dropped. `masked`: the shards carry `loss_spans`.
    """

    sequence_length: int
    rows_per_shard: int
    validation: float
    seed: int
    mix: Mapping[str, Amount]
    pack: Literal["best_fit", "concat"] = "best_fit"
    too_long: Literal["cut", "drop"] = "cut"
    masked: bool = False


def write_shards(
    tokens: Stage,
    shards: Stage,
    layout: Layout,
    tokenizer: Tokenizer,
    facts: dict[str, Any],
    clusters: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]] | None = None,
    wrote: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Pack a complete tokens stage into `shards.folder`; the manifest comes last.

    `clusters` gives near-duplicates' ids (sorted) and the cluster of each. `wrote` is called with
    the shards written and their number, of one split after the other. Raises ShardmillError where
    the mix cannot be met.
    """
    manifest = tokens.manifest or {}
    sources: list[str] = manifest["sources"]
    parts = TokenParts([tokens.map(index) for index in range(tokens.count())])
    documents, cut = _fit(parts, layout)
    groups = _groups(documents, clusters)
    halves = split(documents, layout.validation, layout.seed, groups)
    amounts = {name: layout.mix.get(name, Amount()) for name in sources}
    available = _tokens(halves["train"], sources)
    wanted = plan_mix(available, amounts)
    shards.begin()
    for stale in shards.folder.glob("*.arrow"):
        stale.unlink()
    facts_of_parts = _part_facts(parts, sources)
    about: dict[str, dict[str, Any]] = {}
    splits: dict[str, Any] = {}
    for name, half in halves.items():
        chosen = _choose(name, half, wanted, available, layout, sources)
        rows = _pack(chosen, layout)
        trained = 0
        of = max(1, -(-rows.rows // layout.rows_per_shard))
        tables = _tables(name, parts, chosen, rows, layout, tokenizer, of)
        for done, (file, table, counts) in enumerate(tables, 1):
            write_file(shards.folder / file, to_arrow(table))
            about[file] = counts
            trained += counts["trained"]
            wrote(done, of)
        splits[name] = _account(chosen, rows, layout.sequence_length, sources)
        splits[name]["trained"] = trained
    shards.finish(
        about=about,
        **facts,
        sources=sources,
        splits=splits,
        mix={
            name: {
                amount.unit: amount.value,
                "available": available[name],
                "tokens": splits["train"]["sources"][name]["tokens"],
                "repeats": round(wanted[name] / available[name], 6) if available[name] else 0.0,
            }
            for name, amount in amounts.items()
        },
        licences=sorted({name for names in facts_of_parts["licences"].values() for name in names}),
        rendering=facts_of_parts | cut,
        columns={name: str(kind) for name, kind in _schema(layout, tokenizer).items()},
        packing=packing.ALGORITHMS[layout.pack],
        tokenizer={
            "name": tokenizer.name,
            "added": list(tokenizer.added),
            "vocabulary": tokenizer.vocabulary,
            "eos": tokenizer.eos,
            "padding": tokenizer.padding,
            "special": tokenizer.special,
            "sha256": tokenizer.sha256,
        },
    )


def _fit(parts: TokenParts, layout: Layout) -> tuple[Documents, dict[str, int]]:
    """All documents, conversations no longer than a row, and what became of those."""
    documents = parts.documents()
    long = documents.whole & (documents.length > layout.sequence_length)
    if layout.pack == "concat" or not long.any():
        return documents, {"conversations_cut": 0, "conversations_too_long": 0, "tokens_cut": 0}
    before = documents.tokens
    length = documents.length.copy()
    length[long] = 0
    if layout.too_long == "cut":
        length[long] = parts.longest_cut(documents.take(long), layout.sequence_length)
    fitted = Documents(**{**documents.__dict__, "length": length})
    kept = fitted.take(np.flatnonzero(length > 0))
    return kept, {
        "conversations_cut": int((length[long] > 0).sum()),
        "conversations_too_long": int((length[long] == 0).sum()),
        "tokens_cut": before - kept.tokens,
    }


def _groups(
    documents: Documents,
    clusters: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]] | None,
) -> npt.NDArray[np.uint64] | None:
    if clusters is None or not len(clusters[0]):
        return None
    ids, cluster = clusters
    place = np.minimum(np.searchsorted(ids, documents.id), len(ids) - 1)
    return np.where(ids[place] == documents.id, cluster[place], documents.id)


def _tokens(documents: Documents, sources: list[str]) -> dict[str, int]:
    sums = np.bincount(documents.source, documents.length, minlength=len(sources))
    return {name: int(sums[i]) for i, name in enumerate(sources)}


def _choose(
    split: str,
    half: Documents,
    wanted: Mapping[str, float],
    available: Mapping[str, int],
    layout: Layout,
    sources: list[str],
) -> Documents:
    """The training documents of the mix; of the others the same part of each source, once."""
    if split == "train":
        return repeat(half, {i: wanted[name] for i, name in enumerate(sources)}, layout.seed)
    there = _tokens(half, sources)
    share = {
        name: wanted[name] / available[name] if available[name] else float(name not in layout.mix)
        for name in sources
    }
    part = {i: min(1.0, share[name]) * there[name] for i, name in enumerate(sources)}
    return repeat(half, part, layout.seed, once=True)


def _pack(documents: Documents, layout: Layout) -> packing.Packing:
    return packing.pack(
        documents.length.astype(np.int64),
        documents.key,
        layout.sequence_length,
        layout.seed,
        whole=documents.whole if documents.whole.any() else None,
        concat=layout.pack == "concat",
    )


def _schema(layout: Layout, tokenizer: Tokenizer) -> dict[str, pa.DataType]:
    kind = id_type(tokenizer.vocabulary)
    schema = packed_schema(kind, layout.sequence_length, masked=layout.masked)
    return {column.name: column.type for column in schema}


def _part_facts(parts: TokenParts, sources: list[str]) -> dict[str, Any]:
    """The counts that the tokenize stage left in its parts, summed."""
    found: dict[str, Any] = {"dropped": {}, "disagreements": 0, "licences": {}}
    for table in parts.tables:
        facts = json.loads((table.schema.metadata or {}).get(FACTS, b"{}"))
        found["disagreements"] += facts.get("disagreements", 0)
        for reason, count in facts.get("dropped", {}).items():
            found["dropped"][reason] = found["dropped"].get(reason, 0) + count
        for number, licences in facts.get("licences", {}).items():
            known = found["licences"].setdefault(sources[int(number)], [])
            known.extend(licence for licence in licences if licence not in known)
    found["licences"] = {name: sorted(given) for name, given in sorted(found["licences"].items())}
    found["dropped"] = dict(sorted(found["dropped"].items()))
    return found


def _tables(
    split: str,
    parts: TokenParts,
    documents: Documents,
    rows: packing.Packing,
    layout: Layout,
    tokenizer: Tokenizer,
    shards: int,
) -> Iterator[tuple[str, pa.Table, dict[str, Any]]]:
    size = layout.sequence_length
    schema = packed_schema(id_type(tokenizer.vocabulary), size, masked=layout.masked)
    for shard in range(shards):
        first = shard * layout.rows_per_shard
        last = min(rows.rows, first + layout.rows_per_shard)
        table = packed_rows(parts, documents, rows, first, last, schema, tokenizer.padding)
        begin, end = rows.row_starts[first], rows.row_starts[last]
        starts = rows.offset[begin:end] == 0
        broken = rows.length[begin:end] < documents.length[rows.document[begin:end]]
        real = int(table["n_tokens"].to_numpy().sum())
        counts = {
            "split": split,
            "rows": last - first,
            "tokens": real,
            "trained": _trained(table) if layout.masked else real,
            "padding": (last - first) * size - real,
            "fragments": int(end - begin),
            "documents": int(starts.sum()),
            "documents_split": int((starts & broken).sum()),
        }
        yield f"{split}-{shard:05d}-of-{shards:05d}.arrow", table, counts


def _trained(table: pa.Table) -> int:
    spans = table["loss_spans"].combine_chunks().values.to_numpy().astype(np.int64)
    return int((spans[1::2] - spans[::2]).sum())


def _account(
    documents: Documents, rows: packing.Packing, size: int, sources: list[str]
) -> dict[str, Any]:
    tokens = documents.tokens
    room = rows.rows * size
    by_source = _tokens(documents, sources)
    counted = np.bincount(documents.source, minlength=len(sources))
    return {
        "rows": rows.rows,
        "documents": len(documents.id),
        "documents_split": int((np.bincount(rows.document) > 1).sum()) if rows.rows else 0,
        "tokens": tokens,
        "padding": room - tokens,
        "fill": round(tokens / room, 6) if room else 0.0,
        "sources": {
            name: {"documents": int(counted[i]), "tokens": by_source[name]}
            for i, name in enumerate(sources)
        },
    }


def shard_files(folder: Path) -> list[Path]:
    return sorted(path for split in SPLITS for path in folder.glob(f"{split}-*-of-*.arrow"))
