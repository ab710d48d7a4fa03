"""Parts and stages: whole or absent, and never trusted when damaged."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from data.errors import DamagedPart, OutputError
from data.leases import lock
from data.parts import MANIFEST, Stage, drop, write_file

ROWS = pa.table({"id": [1, 2, 3]})


def made(out: Path) -> Stage:
    stage = Stage(out, "numbers", {"knob": 1})
    stage.begin()
    stage.write(0, ROWS)
    stage.finish()
    return stage


def test_a_stage_is_done_once_its_manifest_is_written(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "numbers", {"knob": 1})
    stage.begin()
    stage.write(0, ROWS)
    assert not stage.done
    stage.finish()
    assert stage.done
    assert stage.read(0).equals(ROWS)


def test_the_hash_covers_settings_and_what_is_read(tmp_path: Path) -> None:
    first = Stage(tmp_path, "a", {"knob": 1})
    assert first.hash == Stage(tmp_path, "a", {"knob": 1}).hash
    assert first.hash != Stage(tmp_path, "a", {"knob": 2}).hash
    assert first.hash != Stage(tmp_path, "b", {"knob": 1}).hash
    other = Stage(tmp_path, "a", {"knob": 2})
    assert Stage(tmp_path, "c", {}, [first]).hash != Stage(tmp_path, "c", {}, [other]).hash


def test_a_damaged_part_is_named_and_dropped_with_its_manifest(tmp_path: Path) -> None:
    stage = made(tmp_path)
    path = stage.file(0)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedPart) as caught:
        stage.read(0)
    assert caught.value.path == path
    drop(caught.value)
    assert not path.exists()
    assert not stage.done


def test_a_part_of_another_size_undoes_its_stage(tmp_path: Path) -> None:
    stage = made(tmp_path)
    with open(stage.file(0), "ab") as handle:
        handle.write(b"x")
    assert not stage.done


def test_a_torn_manifest_is_none_and_the_parts_stay(tmp_path: Path) -> None:
    stage = made(tmp_path)
    manifest = stage.folder / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:30])
    assert not stage.done
    stage.begin()
    assert stage.has(0)


@pytest.mark.parametrize("content", [b"", b"PAR1 garbage", ROWS.schema.serialize().to_pybytes()])
def test_a_part_of_an_unfinished_stage_that_cannot_be_read_is_damage(
    tmp_path: Path, content: bytes
) -> None:
    stage = made(tmp_path)
    (stage.folder / MANIFEST).unlink()
    stage.file(0).write_bytes(content)
    with pytest.raises(DamagedPart):
        stage.read(0)


def test_damaged_parts_are_not_blessed_when_another_is_made_again(tmp_path: Path) -> None:
    stage = made(tmp_path)
    stage.write(1, ROWS)
    stage.finish()
    stage.file(0).unlink()
    other = pa.table({"id": [9]})
    stage.write(1, other)
    stage.begin()
    assert not stage.has(1)


def test_begin_sweeps_what_a_killed_build_left_half_written(tmp_path: Path) -> None:
    stage = made(tmp_path)
    (stage.folder / ".part-00001.parquet.tmp").write_bytes(b"half")
    stage.begin()
    assert sorted(p.name for p in stage.folder.iterdir()) == ["part-00000.parquet"]


def test_a_full_disk_leaves_neither_the_file_nor_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_file(tmp_path / "part.parquet", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    """A file size limit of the kernel's stands in for the disk: writes fail half-way."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from data.parts import write_file\n"
        "from data.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_file(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OutputError as error:\n    print('refused')\n"
    )
    target = tmp_path / "part"
    shown = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "refused\n"
    assert list(tmp_path.iterdir()) == []


def test_only_one_build_holds_an_output_folder(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(OutputError, match=f"process {os.getpid()}"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


def test_an_output_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), lock(tmp_path / "out"):
        pass


def test_a_stage_of_many_parts_lists_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand parts that each walk over all of them took minutes."""
    stage = Stage(tmp_path, "numbers", {})
    stage.begin()
    for index in range(30):
        stage.write(index, ROWS)
    stage.write(0, ROWS, "verdicts")
    stage.finish()
    assert (stage.count(), stage.count("verdicts"), stage.count("other")) == (30, 1, 0)

    class Listed(list[object]):
        def __iter__(self) -> Iterator[object]:
            raise AssertionError("walked over all parts")

    manifest = stage.manifest or {}
    monkeypatch.setitem(manifest, "parts", Listed(manifest["parts"]))
    assert all(stage.read(index).equals(ROWS) for index in range(stage.count()))
