"""Exports give a consumer the documents of the shards: which, how often, in which split."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest

from data import export as exporting
from data.errors import DamagedPart, OutputError, RecipeError, ShardmillError, SourceError
from data.export import Source, export_shards, list_exporters
from data.loader import Rows, expand
from data.parts import read_manifest
from flows.verification import verify_folder
from tests.builds import build
from tests.fake_server import FakeServer

EOT = 50256
SPLITS = ("train", "validation")
Documents = Counter[tuple[int, ...]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build whose books count twice and a half, in several token parts."""
    folder = tmp_path_factory.mktemp("built")
    with FakeServer() as server:
        changes = [
            "engine.model=fake",
            f"engine.endpoints=[{server.url}]",
            "curate=[]",
            "part_rows=20",
            "outputs.pretrain.validation=0.2",
            "outputs.pretrain.sequence_length=64",
            "outputs.pretrain.mix={textbooks: {repeat: 2.5}, math: {}, stories: {}}",
        ]
        build("demo", folder, *changes)
    return folder


def shards(out: Path) -> Path:
    return out / "shards" / "pretrain"


def packed_documents(out: Path, split: str) -> Documents:
    """The documents as one finds them by walking over the packed rows."""
    rows = pl.scan_ipc(shards(out) / f"{split}-*.arrow").collect()
    whole: Documents = Counter()
    fragments: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for row in rows.iter_rows(named=True):
        start = 0
        for id, offset, length in zip(
            row["doc_ids"], row["doc_offsets"], row["seq_lengths"], strict=False
        ):
            ids = tuple(row["input_ids"][start : start + length])
            fragments.setdefault((id, offset), []).append(ids)
            start += length
    for (id, offset), pieces in fragments.items():
        if offset == 0:
            document = pieces[0]
            while (id, len(document)) in fragments:
                document += fragments[id, len(document)][0]
            whole[document] += len(pieces)
    return whole


def split_at_ends(ids: np.ndarray[Any, Any]) -> Documents:
    ends = np.flatnonzero(ids == EOT) + 1
    assert ends[-1] == len(ids)
    return Counter(tuple(part.tolist()) for part in np.split(ids, ends[:-1]))


def test_nanogpts_stream_is_the_documents_with_an_end_behind_each(
    out: Path, tmp_path: Path
) -> None:
    assert export_shards(shards(out), "nanogpt", tmp_path / "to")
    files = {"train": "train.bin", "validation": "val.bin"}
    found = {}
    for split, name in files.items():
        data = np.memmap(tmp_path / "to" / name, dtype=np.uint16, mode="r")
        found[split] = split_at_ends(data)
        assert found[split] == packed_documents(out, split)
    assert max(found["train"].values()) == 3
    assert set(found["train"]).isdisjoint(found["validation"])


def test_nanogpts_random_windows_hold_our_documents(out: Path, tmp_path: Path) -> None:
    """Read as nanoGPT does: a memmap, 64 ids from a random place, targets one further."""
    export_shards(shards(out), "nanogpt", tmp_path / "to")
    data = np.memmap(tmp_path / "to" / "train.bin", dtype=np.uint16, mode="r")
    known = packed_documents(out, "train")
    rng = np.random.default_rng(0)
    whole = 0
    for start in rng.integers(0, len(data) - 513, 200):
        x = data[start : start + 512].astype(np.int64)
        y = data[start + 1 : start + 513].astype(np.int64)
        assert (x[1:] == y[:-1]).all()
        ends = np.flatnonzero(x == EOT) + 1
        for first, last in pairwise(ends):
            whole += 1
            assert tuple(x[first:last].tolist()) in known
    assert whole > 50


def read_megatron(prefix: Path) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """An .idx/.bin pair by its published layout alone: documents, and document boundaries."""
    index = prefix.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert int.from_bytes(index[9:17], "little") == 1
    kinds: dict[int, str] = {8: "<u2", 4: "<i4"}
    dtype = kinds[index[17]]
    sequences = int.from_bytes(index[18:26], "little")
    documents = int.from_bytes(index[26:34], "little")
    at = 34
    lengths = np.frombuffer(index, "<i4", sequences, at)
    at += 4 * sequences
    pointers = np.frombuffer(index, "<i8", sequences, at)
    at += 8 * sequences
    borders = np.frombuffer(index, "<i8", documents, at)
    assert at + 8 * documents == len(index)
    ids = prefix.with_suffix(".bin").read_bytes()
    return [
        np.frombuffer(ids, dtype, n, p) for n, p in zip(lengths, pointers, strict=True)
    ], borders


def test_megatrons_index_leads_to_every_document(out: Path, tmp_path: Path) -> None:
    export_shards(shards(out), "megatron", tmp_path / "to")
    for split in SPLITS:
        found, borders = read_megatron(tmp_path / "to" / split)
        assert borders.tolist() == list(range(len(found) + 1))
        assert Counter(tuple(ids.tolist()) for ids in found) == packed_documents(out, split)
        size = (tmp_path / "to" / f"{split}.bin").stat().st_size
        assert size == 2 * sum(map(len, found))


def test_datatroves_files_end_documents_where_the_index_says(out: Path, tmp_path: Path) -> None:
    export_shards(shards(out), "datatrove", tmp_path / "to")
    for split in SPLITS:
        path = tmp_path / "to" / split / "tokens.ds"
        ids, ends = np.fromfile(path, "<u2"), np.fromfile(f"{path}.index", "<u8")
        documents = np.split(ids, ends[:-1].astype(np.int64))
        assert Counter(tuple(d.tolist()) for d in documents) == packed_documents(out, split)
        assert ends[-1] == len(ids)
        about = Path(f"{path}.metadata").read_text().split("\n")
        assert about[:2] == ["gpt2|2", str(len(ids))]


def test_hf_loads_with_labels_and_positions(out: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export_shards(shards(out), "hf", tmp_path / "to")
    loaded = datasets.load_from_disk(str(tmp_path / "to"))
    for split in SPLITS:
        rows = Rows(shards(out), split)
        batch = rows.take(np.arange(len(rows)))
        file = tmp_path / "to" / split / "data-00000-of-00001.arrow"
        for found in (loaded[split], datasets.Dataset.from_file(str(file))):
            for name, values in expand(batch).items():
                assert found[name][:] == values.tolist(), name
            assert [sum(lengths) for lengths in found["seq_lengths"]] == [64] * len(rows)
    assert str(loaded["train"].features["input_ids"]) == "List(Value('uint16'), length=64)"


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("to", list_exporters())
def test_an_export_lists_what_it_wrote_and_is_made_once(
    out: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "deep" / "to"
    assert export_shards(shards(out), to, target)
    written = hashes(target)
    manifest = read_manifest(target) or {}
    assert {p["file"]: p["sha256"] for p in manifest["parts"]} == {
        name: sha for name, sha in written.items() if name != "manifest.json"
    }
    assert manifest["exported"].keys() == set(SPLITS)
    assert verify_folder(target) == (len(written) - 1, [])
    assert not export_shards(shards(out), to, target)
    monkeypatch.setattr(exporting, "BLOCK", 100)
    assert export_shards(shards(out), to, tmp_path / "again")
    assert hashes(tmp_path / "again") == written
    assert [path.name for path in target.parent.iterdir()] == ["to"]


def test_what_lies_in_the_way_stays(out: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is no finished export"):
        export_shards(shards(out), "nanogpt", tmp_path / "to")
    assert (tmp_path / "to" / "thesis.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_an_older_or_damaged_export_is_replaced(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "to"
    export_shards(shards(out), "nanogpt", target)
    good = hashes(target)
    (target / "train.bin").write_bytes(b"")
    assert export_shards(shards(out), "nanogpt", target)
    assert hashes(target) == good
    assert export_shards(shards(out), "megatron", target)
    assert (target / "train.idx").is_file()
    assert not (target / "train.bin.old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_a_failing_export_leaves_nothing(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Source, folder: Path) -> None:
        (folder / "train.bin").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data.exporters.nanogpt.export", full)
    with pytest.raises(OutputError, match="the disk is full"):
        export_shards(shards(out), "nanogpt", tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_cleared(out: Path, tmp_path: Path) -> None:
    left = tmp_path / ".to.tmp" / "train"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    export_shards(shards(out), "nanogpt", tmp_path / "to")
    assert set(hashes(tmp_path / "to")) == {"train.bin", "val.bin", "manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    shutil.copytree(out, tmp_path / "copy")
    return tmp_path / "copy"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("which", ["shards/pretrain/train-*.arrow", "stages/tokens.*/*.arrow"])
def test_damage_is_named_and_not_exported(copy: Path, tmp_path: Path, which: str) -> None:
    damaged = sorted(copy.glob(which))[0]
    flip(damaged)
    with pytest.raises(DamagedPart, match=damaged.name):
        export_shards(shards(copy), "nanogpt", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_shards_without_their_stages_export_rows_but_no_documents(
    copy: Path, tmp_path: Path
) -> None:
    shutil.rmtree(copy / "stages")
    assert export_shards(shards(copy), "mds", tmp_path / "rows")
    with pytest.raises(SourceError, match="tokenized documents, which are not there"):
        export_shards(shards(copy), "datatrove", tmp_path / "documents")


def test_a_tokens_stage_that_lacks_a_document_is_noticed(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = Source._tables
    monkeypatch.setattr(Source, "_tables", lambda self: (t.slice(1) for t in tables(self)))
    with pytest.raises(ShardmillError, match="has other documents than the tokens stage"):
        export_shards(shards(out), "megatron", tmp_path / "to")


def test_ids_that_nanogpt_cannot_hold_are_refused(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def widen(self: Source, folder: Path) -> None:
        made(self, folder)
        self.vocabulary = 100_000

    made: Callable[[Source, Path], None] = Source.__init__
    monkeypatch.setattr(Source, "__init__", widen)
    with pytest.raises(RecipeError, match="reads 16-bit ids and the vocabulary has 100,000"):
        export_shards(shards(out), "nanogpt", tmp_path / "to")


def test_masked_documents_keep_their_mask_in_datatroves_files() -> None:
    """By hand: two of three documents, the second cut at 3 of its tokens."""
    table = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.uint64()),
            "input_ids": pa.array([[1, 2, 3], [4, 5], [6, 7, 8, 9]], pa.large_list(pa.uint16())),
            "loss_spans": pa.array([[1, 3], [], [0, 1, 2, 4]], pa.list_(pa.int32())),
        }
    )
    (block,) = exporting._blocks(table, np.array([0, 2]), np.array([3, 3]))
    assert block.ids.tolist() == [1, 2, 3, 6, 7, 8]
    assert block.trained is not None
    assert block.trained.tolist() == [0, 1, 1, 1, 0, 1]


def test_the_splits_of_a_manifest_are_those_of_the_shards(out: Path, tmp_path: Path) -> None:
    export_shards(shards(out), "nanogpt", tmp_path / "to")
    manifest = json.loads((tmp_path / "to" / "manifest.json").read_bytes())
    tokens = {name: split["tokens"] for name, split in manifest["exported"].items()}
    sizes = {"train": "train.bin", "validation": "val.bin"}
    assert tokens == {
        split: (tmp_path / "to" / name).stat().st_size // 2 for split, name in sizes.items()
    }
