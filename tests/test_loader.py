"""The loader: the very rows, masked by position; orders, ranks and resuming to the row."""

import ast
import json
import pickle
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from data import ROOT, loader
from data.loader import Batch, Collator, Loader, LoaderError, Rows, expand
from tests.packed import EOS, Row, random_rows, write_packed

SIZE = 16
NUMPY = Collator(tensors="numpy")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "masked"])
def shards(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Row]]:
    rows = random_rows(60, SIZE, masked=request.param)
    return write_packed(tmp_path_factory.mktemp("shards"), rows, SIZE), rows


def test_batches_are_what_a_walk_over_the_tokens_gives(shards: tuple[Path, list[Row]]) -> None:
    folder, known = shards
    rows = Rows(folder)
    assert len(rows) == len(known)
    order = np.random.default_rng(1).permutation(len(known))
    for wanted in (order, order[:1], np.arange(9), np.array([5, 5, 58, 5])):
        found = NUMPY(rows.take(wanted))
        for name, values in found.items():
            assert values.tolist() == [known[i].expected(SIZE)[name] for i in wanted], name


def test_flattened_batches_have_every_token_and_no_padding(shards: tuple[Path, list[Row]]) -> None:
    folder, known = shards
    wanted = [3, 41, 0]
    found = Collator(flatten=True, tensors="numpy")(Rows(folder).take(wanted))
    for name, values in found.items():
        expected = [known[i].expected(SIZE)[name][: len(known[i].ids)] for i in wanted]
        assert values.tolist() == [list(chain.from_iterable(expected))], name


def test_an_end_of_text_inside_a_row_is_trained_and_padding_is_not(tmp_path: Path) -> None:
    row = Row([[1, EOS, 2, EOS], [3, EOS]])
    rows = Rows(write_packed(tmp_path, [row], 8))
    assert expand(rows.take([0]))["labels"].tolist() == [[-100, EOS, 2, EOS, -100, EOS, -100, -100]]


def test_large_vocabularies_and_long_rows_have_wider_types(tmp_path: Path) -> None:
    known = Row([[70_000, 1, 2]])
    rows = Rows(write_packed(tmp_path, [known], 70_000, vocabulary=100_000))
    found = expand(rows.take([0]))
    assert {k: v[0].tolist() for k, v in found.items()} == known.expected(70_000)


def epochs(loader: Loader, count: int) -> list[list[list[list[int]]]]:
    """The ids of each batch of each epoch."""
    return [[batch["input_ids"].tolist() for batch in loader] for _ in range(count)]


def numbered(folder: Path, rows: int = 50) -> Path:
    return write_packed(folder, [Row([[i, 1]]) for i in range(rows)], 2, vocabulary=rows)


def test_an_epoch_has_each_row_once_and_each_epoch_its_own_order(tmp_path: Path) -> None:
    rows = Rows(numbered(tmp_path))
    first, second, third = epochs(Loader(rows, 5, seed=3, collate=NUMPY), 3)
    for epoch in (first, second, third):
        assert sorted(row[0] for batch in epoch for row in batch) == list(range(50))
    assert len({str(first), str(second), str(third)}) == 3
    assert epochs(Loader(rows, 5, seed=3, collate=NUMPY), 2) == [first, second]
    assert epochs(Loader(rows, 5, seed=4, collate=NUMPY), 1) != [first]
    (plain,) = epochs(Loader(rows, 5, shuffle=False, collate=NUMPY), 1)
    assert [row[0] for batch in plain for row in batch] == list(range(50))


def test_the_order_is_fixed_for_good() -> None:
    """These may never change: states saved by earlier versions are resumed by them."""
    assert loader.order_rows(8, 0, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert loader.order_rows(8, 3, 1).tolist() == [7, 3, 5, 6, 4, 0, 2, 1]


@pytest.mark.parametrize("world_size", [2, 5])
def test_ranks_together_take_the_step_that_one_rank_takes(tmp_path: Path, world_size: int) -> None:
    rows = Rows(numbered(tmp_path))
    (alone,) = epochs(Loader(rows, 10, seed=1, collate=NUMPY), 1)
    ranks = [
        epochs(Loader(rows, 10, seed=1, rank=r, world_size=world_size, collate=NUMPY), 1)[0]
        for r in range(world_size)
    ]
    for step, batch in enumerate(alone):
        shared = [
            part for rank in zip(*(rank[step] for rank in ranks), strict=True) for part in rank
        ]
        assert shared == batch


def test_resuming_anywhere_gives_the_batches_that_would_have_come(tmp_path: Path) -> None:
    rows = Rows(numbered(tmp_path, 23))
    through = Loader(rows, 5, seed=9, collate=NUMPY)
    seen = []
    for _ in range(3):
        for batch in through:
            seen.append((batch["input_ids"].tolist(), json.dumps(through.state_dict())))
    assert len(seen) == 3 * 4 == 3 * len(through)
    for number, (_, state) in enumerate(seen[:-1]):
        resumed = Loader(rows, 5, seed=0, collate=NUMPY)
        resumed.load_state_dict(json.loads(state))
        following = [batch["input_ids"].tolist() for _ in range(3) for batch in resumed]
        rest = [batch for batch, _ in seen[number + 1 :]]
        assert following[: len(rest)] == rest


def test_a_state_goes_on_under_another_world_size_and_batch(tmp_path: Path) -> None:
    rows = Rows(numbered(tmp_path))
    one = Loader(rows, 10, collate=NUMPY)
    (whole,) = epochs(Loader(rows, 10, collate=NUMPY), 1)
    next(iter(one))
    found = []
    for rank in (0, 1):
        two = Loader(rows, 4, rank=rank, world_size=2, collate=NUMPY)
        two.load_state_dict(one.state_dict())
        found += [row[0] for (batch,) in [epochs(two, 1)] for part in batch for row in part]
    assert sorted(found) == sorted(row[0] for batch in whole[1:] for row in batch)


def test_a_larger_batch_than_what_is_left_starts_the_next_epoch(tmp_path: Path) -> None:
    loader = Loader(Rows(numbered(tmp_path)), 40, collate=NUMPY)
    loader.load_state_dict({**loader.state_dict(), "row": 45})
    assert [len(batch["input_ids"]) for batch in loader] == [40]
    assert loader.state_dict()["epoch"] == 2


def test_the_last_short_batch_comes_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = Rows(numbered(tmp_path, 23))
    kept = Loader(rows, 5, drop_last=False, collate=NUMPY)
    assert [len(batch["input_ids"]) for batch in kept] == [5, 5, 5, 5, 3]
    assert len(kept) == 5
    assert kept.state_dict() == {**kept.state_dict(), "epoch": 1, "row": 0}


def test_rows_go_to_workers_by_pickle(tmp_path: Path) -> None:
    rows = Rows(numbered(tmp_path))
    again = pickle.loads(pickle.dumps(rows))
    batch = pickle.loads(pickle.dumps(again.__getitems__([4])))
    assert batch.input_ids.tolist() == [[4, 1]]
    assert batch.seq_lengths.values.tolist() == [2]


def test_ids_of_a_range_are_a_view_of_the_shard(tmp_path: Path) -> None:
    known = random_rows(20, SIZE, masked=True)
    rows = Rows(write_packed(tmp_path, known, SIZE, batch_rows=3))
    view = rows.take(range(3, 6)).input_ids
    assert np.shares_memory(view, rows.take(range(4, 5)).input_ids)
    assert not view.flags.writeable
    for wanted in (range(3, 6), range(2, 9), range(19, 20), range(1, 20, 4), range(8, 2, -1)):
        found = NUMPY(rows.take(wanted))
        for name, values in found.items():
            assert values.tolist() == [known[i].expected(SIZE)[name] for i in wanted], name
    for wrong in (range(18, 21), range(-1, 2), range(5, 5)):
        with pytest.raises(IndexError, match=r"each in \[0, 20\)"):
            rows.take(wrong)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"batch_rows": 10, "world_size": 3}, "batch_rows 10 do not share out to 3"),
        ({"batch_rows": 0}, "batch_rows 0 do not share out to 1"),
        ({"batch_rows": 4, "rank": 2, "world_size": 2}, r"rank 2 does not lie in \[0, 2\)"),
        ({"batch_rows": 51}, "50 rows are not one batch of 51"),
        ({"batch_rows": 4, "world_size": 2, "drop_last": False}, "ranks would differ"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    tmp_path: Path, sizes: dict[str, Any], says: str
) -> None:
    with pytest.raises(LoaderError, match=says):
        Loader(Rows(numbered(tmp_path)), **sizes)


def test_a_state_of_other_shards_is_refused(tmp_path: Path) -> None:
    state = Loader(Rows(numbered(tmp_path / "a")), 5).state_dict()
    other = Loader(Rows(numbered(tmp_path / "b", 40)), 5)
    with pytest.raises(LoaderError, match=f"the state is of manifest {state['manifest_hash']}"):
        other.load_state_dict(state)
    with pytest.raises(LoaderError, match="is no state of 40 rows"):
        other.load_state_dict({"epoch": 0})
    with pytest.raises(LoaderError, match="is no state of 40 rows"):
        other.load_state_dict({**other.state_dict(), "row": 40})


def test_what_is_wrong_with_the_files_is_named(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "good")
    with pytest.raises(LoaderError, match="holds no rows of a split 'validation'"):
        Rows(folder, "validation")
    with pytest.raises(LoaderError, match=r"nowhere: holds no manifest.json"):
        Rows(tmp_path / "nowhere")
    shard = sorted(folder.glob("*.arrow"))[3]
    content = shard.read_bytes()
    shard.write_bytes(content[:-8])
    with pytest.raises(LoaderError, match=f"{shard.name}: is missing or cut short"):
        Rows(folder)
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(LoaderError, match=f"{shard.name}: is no Arrow file"):
        Rows(folder)
    shard.unlink()
    with pytest.raises(LoaderError, match=f"{shard.name}: is missing"):
        Rows(folder)


def test_compressed_shards_are_refused_and_not_misread(tmp_path: Path) -> None:
    folder = write_packed(tmp_path, random_rows(200, 64), 64, rows_per_shard=200, batch_rows=200)
    (shard,) = folder.glob("*.arrow")
    table = pa.ipc.open_file(shard).read_all()
    with pa.ipc.new_file(
        shard, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as w:
        w.write_table(table)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["parts"][0]["bytes"] = shard.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LoaderError, match="is compressed"):
        Rows(folder)


def test_lengths_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    batch = Rows(numbered(tmp_path)).take([0, 1])
    lengths = batch.seq_lengths._replace(values=np.array([1, 3]))
    wrong = Batch(batch.input_ids, lambda: (batch.n_tokens, lengths, None))
    with pytest.raises(LoaderError, match="seq_lengths do not add up to rows of 2"):
        expand(wrong)


def test_a_row_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    rows = Rows(numbered(tmp_path))
    for wrong in ([50], [-1], []):
        with pytest.raises(IndexError, match=r"each in \[0, 50\)"):
            rows.take(wrong)


def test_the_file_works_alone(tmp_path: Path) -> None:
    """A trainer may copy it: pyarrow, NumPy and the standard library are all it imports."""
    tree = ast.parse(Path(loader.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {
        a.name.partition(".")[0] for n in imports if isinstance(n, ast.Import) for a in n.names
    }
    names |= {(n.module or "").partition(".")[0] for n in imports if isinstance(n, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy", "pyarrow", "torch"}
    shutil.copy(ROOT / "data" / "loader.py", tmp_path / "vendored.py")
    numbered(tmp_path / "shards")
    script = (
        "from vendored import Collator, Loader, Rows\n"
        "loader = Loader(Rows('shards'), 10, collate=Collator(tensors='numpy'))\n"
        "print(sum(batch['input_ids'].sum() for batch in loader))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == str(sum(range(50)) + 50)
