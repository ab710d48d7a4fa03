"""Shards from chat and text: spans, cuts, splits, the manifest, and every harm named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from data import schema
from data.formats import to_arrow
from data.mixing import Amount
from data.parts import Stage, write_file
from data.shards import FACTS, Layout, write_shards
from data.tokenization import Tokenizer, load_tokenizer
from flows.card import licence_header, non_commercial
from flows.verification import verify_folder

SIZE = 16


def build(
    out: Path,
    documents: list[dict[str, Any]],
    per_part: int = 3,
    clusters: Any = None,
    **changes: Any,
) -> Stage:
    """Shards of documents given as ids, spans and cuts."""
    tokenizer: Tokenizer = load_tokenizer('words:["a", "b", "c"]')
    columns = schema.tokens_schema(pa.uint16(), masked=True, talks=True)
    tokens = Stage(out, "tokens.chat", {})
    tokens.begin()
    for start in range(0, len(documents), per_part):
        rows = [
            {"source": 0, "cuts": [], "loss_spans": [0, len(d["input_ids"])], **d}
            for d in documents[start : start + per_part]
        ]
        facts = {"licences": {0: ["mit"]}, "dropped": {"no_turns": 1}, "disagreements": 2}
        table = pa.Table.from_pylist(rows, schema=columns)
        table = table.replace_schema_metadata({FACTS: json.dumps(facts)})
        tokens.write_arrow(start // per_part, table)
    tokens.finish(sources=["talks"])
    shards = Stage(
        out, "shards.chat", changes.pop("settings", {}), [tokens], out / "shards" / "chat"
    )
    settings = {"rows_per_shard": 4, "validation": 0.0, "seed": 0, "mix": {}, "masked": True}
    layout = Layout(sequence_length=SIZE, **{**settings, **changes})
    facts = {"sequence_length": SIZE, "recipe": "x"}
    write_shards(tokens, shards, layout, tokenizer, facts, clusters)
    return shards


def talk(id: int, *turns: int) -> dict[str, Any]:
    """A conversation of turns of those lengths, the second half of each trained."""
    ends = np.cumsum(turns).tolist()
    spans = [
        place for end, size in zip(ends, turns, strict=True) for place in (end - size // 2, end)
    ]
    ids = [place % 3 for place in range(ends[-1])]
    return {"id": id, "input_ids": ids, "loss_spans": spans, "cuts": ends}


def rows(shards: Stage, split: str = "train") -> pl.DataFrame:
    return pl.scan_ipc(sorted(shards.folder.glob(f"{split}-*.arrow")), glob=False).collect()


def labels(shards: Stage) -> dict[int, list[int]]:
    """Per document the ids that its spans train on, put together from the rows."""
    found: dict[int, dict[int, list[int]]] = {}
    for row in rows(shards).iter_rows(named=True):
        marked = np.zeros(SIZE, bool)
        for start, end in np.array(row["loss_spans"], int).reshape(-1, 2):
            marked[start:end] = True
        at = 0
        for id, offset, size in zip(
            row["doc_ids"], row["doc_offsets"], row["seq_lengths"], strict=False
        ):
            ids = np.where(marked[at : at + size], row["input_ids"][at : at + size], -1)
            found.setdefault(id, {})[offset] = ids.tolist()
            at += size
    return {id: [t for at in sorted(pieces) for t in pieces[at]] for id, pieces in found.items()}


def expected(document: dict[str, Any], length: int | None = None) -> list[int]:
    ids = document["input_ids"][:length]
    spans = document.get("loss_spans", [0, len(ids)])
    pairs = list(zip(spans[::2], spans[1::2], strict=True))
    return [id if any(a <= n < b for a, b in pairs) else -1 for n, id in enumerate(ids)]


def test_spans_follow_their_documents_into_the_rows(tmp_path: Path) -> None:
    given = [talk(n, 2 + n % 5, 4) for n in range(20)]
    given += [{"id": 100 + n, "input_ids": [n % 3] * (10 + 9 * n)} for n in range(6)]
    shards = build(tmp_path, given)
    assert labels(shards) == {d["id"]: expected(d) for d in given}
    manifest = shards.manifest or {}
    split = manifest["splits"]["train"]
    assert split["trained"] == sum(t >= 0 for d in given for t in expected(d))
    assert split["tokens"] == sum(len(d["input_ids"]) for d in given)
    assert sum(part["trained"] for part in manifest["parts"]) == split["trained"]
    assert manifest["rendering"]["dropped"] == {"no_turns": 9}
    assert manifest["licences"] == ["mit"]
    assert verify_folder(tmp_path)[1] == []


def test_conversations_are_never_split_and_long_ones_end_at_a_turn(tmp_path: Path) -> None:
    given = [talk(1, 6, 6, 6), talk(2, 20, 4), talk(3, 9)]
    shards = build(tmp_path / "cut", given)
    assert labels(shards) == {1: expected(given[0], 12), 3: expected(given[2])}
    found = (shards.manifest or {})["rendering"]
    assert (found["conversations_cut"], found["conversations_too_long"]) == (1, 1)
    assert found["tokens_cut"] == 6 + 24
    dropped = build(tmp_path / "drop", given, too_long="drop")
    assert set(labels(dropped)) == {3}


def test_rows_do_not_depend_on_the_parts(tmp_path: Path) -> None:
    given = [talk(n * 7919 % 101, 3 + n % 4, 2) for n in range(40)]
    given += [{"id": 200 + n, "input_ids": [1] * (3 * n + 1)} for n in range(20)]
    one = build(tmp_path / "one", given, per_part=100, mix={"talks": Amount("repeat", 1.5)})
    other = build(tmp_path / "other", given[::-1], per_part=4, mix={"talks": Amount("repeat", 1.5)})
    assert rows(one).equals(rows(other))
    assert len((one.manifest or {})["parts"]) > 3


def test_clusters_validate_together(tmp_path: Path) -> None:
    given = [talk(n, 4) for n in range(60)]
    ids = np.arange(60, dtype=np.uint64)
    shards = build(tmp_path, given, clusters=(ids, ids // 2), validation=0.3)
    held = set(rows(shards, "validation")["doc_ids"].explode().to_list())
    assert 0 < len(held) < 60
    assert {id ^ 1 for id in held} == held
    assert not held & set(rows(shards)["doc_ids"].explode().to_list())


def test_a_cluster_above_the_share_trains(tmp_path: Path) -> None:
    """However its hash falls: it would take most of the corpus out of training."""
    given = [talk(n, 4) for n in range(60)]
    ids = np.arange(60, dtype=np.uint64)
    for name in range(100, 110):
        clusters = np.where(ids < 40, np.uint64(name), ids)
        folder = tmp_path / str(name)
        shards = build(folder, given, clusters=(ids, clusters), validation=0.5)
        assert set(range(40)) <= set(rows(shards)["doc_ids"].explode().to_list())


def harmed(column: str, change: Callable[[Any], Any]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def harm(frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[column].to_list()
        values[0] = change(values[0])
        return frame.with_columns(pl.Series(column, values, frame[column].dtype))

    return harm


HARMS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "1 rows with seq_lengths that do not add up": ("seq_lengths", lambda v: [v[0] + 1, *v[1:]]),
    "1 rows with ids outside the vocabulary": ("input_ids", lambda v: [5, *v[1:]]),
    "1 rows with fragments without a length": ("doc_ids", lambda v: [*v, v[0]]),
    "1 rows with doc_offsets of other fragments": ("doc_offsets", lambda v: [*v, 0]),
    "1 rows with source_ids of other fragments": ("source_ids", lambda v: [*v, 0]),
    "1 rows with unknown sources": ("source_ids", lambda v: [1, *v[1:]]),
    "1 rows with loss_spans outside the row": ("loss_spans", lambda v: [*v[:-1], 17]),
    "1 rows with loss_spans without an end": ("loss_spans", lambda v: v[:-1]),
    "1 rows with loss_spans out of order": ("loss_spans", lambda v: v[::-1]),
    "1 documents that the tokens stage does not know": ("doc_ids", lambda v: [999, *v[1:]]),
    "1 rows with fragments that do not add up to n_tokens": ("n_tokens", lambda v: v - 1),
    "tokens, not": ("n_tokens", lambda v: v - 1),
    "trained, not": ("loss_spans", lambda v: [v[0], v[1] - 1, *v[2:]]),
}  # fmt: skip


@pytest.mark.parametrize("says", HARMS)
def test_verify_names_a_harm_that_the_checksum_covers(tmp_path: Path, says: str) -> None:
    """The manifest is written anew over the harmed shard, as a faulty writer would."""
    shards = build(tmp_path, [talk(n, 5, 4) for n in range(12)])
    path = next(shards.folder.glob("train-*.arrow"))
    column, change = HARMS[says]
    frame = harmed(column, change)(pl.read_ipc(path.read_bytes()))
    facts = {k: v for k, v in (shards.manifest or {}).items()
             if k not in ("stage", "hash", "settings", "inputs", "parts", "manifest")}  # fmt: skip
    about = {p["file"]: {k: v for k, v in p.items() if k not in ("file", "bytes", "sha256")}
             for p in (shards.manifest or {})["parts"]}  # fmt: skip
    table = frame.to_arrow().cast(pa.ipc.open_file(path.read_bytes()).schema)
    write_file(path, to_arrow(table))
    shards.finish(about=about, **facts)
    wrong = [problem for _, problem in verify_folder(shards.folder)[1]]
    assert any(says in problem for problem in wrong), wrong


def test_a_document_on_both_sides_is_found(tmp_path: Path) -> None:
    shards = build(tmp_path, [talk(n, 5, 4) for n in range(12)], validation=0.3)
    train, held = (next(shards.folder.glob(f"{s}-*.arrow")) for s in ("train", "validation"))
    held.write_bytes(train.read_bytes())
    facts = {k: v for k, v in (shards.manifest or {}).items()
             if k not in ("stage", "hash", "settings", "inputs", "parts", "manifest")}  # fmt: skip
    shards.finish(**facts)
    assert any("in both splits" in problem for _, problem in verify_folder(shards.folder)[1])


@pytest.mark.parametrize(
    ("licences", "header"),
    [
        ({"a": ["mit"]}, 'license: "mit"'),
        ({"a": ["mit"], "b": ["apache-2.0"]}, 'license: other\nlicense_name: "apache-2.0 and mit"'),
        ({"a": ["mit"], "b": ["cc-by-nc-4.0"]}, 'license: "cc-by-nc-4.0"'),
        ({"a": ["sync-1.0"], "b": ["Non-Commercial"]}, 'license: "Non-Commercial"'),
    ],
)
def test_a_non_commercial_source_marks_the_whole_output(
    licences: dict[str, list[str]], header: str
) -> None:
    given = sorted({name for names in licences.values() for name in names})
    assert licence_header(given, non_commercial(licences)) == header
