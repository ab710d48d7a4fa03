"""A stage at rest: a folder of parts, each committed by rename, and a manifest written last.

A stage's identity is a hash of its settings and of the stages it reads. A folder with a
manifest is complete; one without holds whole parts only, and the next build makes the rest.
"""

import errno
import functools
import hashlib
import json
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from data import checksums, store, turns
from data.errors import DamagedPart, OutputError
from data.formats import to_arrow, to_parquet
from data.schema import fingerprint

MANIFEST, sha256_file = checksums.MANIFEST, checksums.sha256_file
PART = re.compile(r"[a-z]+-\d{5,}(-of-\d{5,})?\.(parquet|arrow)")
LAYOUT = 1
"""Raised when the meaning of stored parts changes: older stages are then made again."""


def write_file(path: Path, content: bytes | pa.Buffer) -> None:
    """Commit a whole file or nothing: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    store.writing(path, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise output_error(path, error) from error
    store.written(path)


def write_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_file(path, content)


def output_error(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            "the disk is full",
            where=str(path),
            fix="nothing half-written is kept: free some space and run the same command",
        )
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        where=str(path),
        fix="choose another folder with --out or mend its rights",
    )


@dataclass
class Stage:
    """One stage's folder; `inputs` are the stages it reads.

    A stage may hold several tables side by side (samples and their verdicts): `table` names
    one, and `part-00003` of each belongs together.
    """

    out: Path
    name: str
    settings: dict[str, Any]
    inputs: Sequence["Stage"] = ()
    at: Path | None = None
    hash: str = field(init=False)
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        reads = [f"{stage.name}-{stage.hash}" for stage in self.inputs]
        self.hash = fingerprint([LAYOUT, self.name, self.settings, reads])
        self.folder = self.at or self.out / "stages" / f"{self.name}-{self.hash}"

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of this very hash; None while the stage is incomplete, and where the
        file is torn. Raises OutputError where it cannot be read at all."""
        found = read_manifest(self.folder)
        return found if found is not None and found["hash"] == self.hash else None

    @property
    def done(self) -> bool:
        """Complete, with every file present in its recorded size."""
        manifest = self.manifest
        return manifest is not None and all(
            store.size_of(self.folder / part["file"]) == part["bytes"] for part in manifest["parts"]
        )

    def file(self, index: int, table: str = "part", suffix: str = "parquet") -> Path:
        return self.folder / f"{table}-{index:05d}.{suffix}"

    def has(self, index: int, table: str = "part", suffix: str = "parquet") -> bool:
        turns.look_anew(self.folder)
        return store.is_there(self.file(index, table, suffix))

    def count(self, table: str = "part") -> int:
        if self.manifest is None:
            raise DamagedPart(self.folder / MANIFEST)
        return _read(self.folder).tables[table]

    def write(self, index: int, content: pa.Table, table: str = "part") -> None:
        write_file(self.file(index, table), to_parquet(content))

    def write_arrow(self, index: int, content: pa.Table, table: str = "part") -> None:
        """One record batch, so that a mapped part is one contiguous array."""
        batch = max(1, content.num_rows)
        write_file(self.file(index, table, "arrow"), to_arrow(content.combine_chunks(), batch))

    def read(
        self,
        index: int,
        table: str = "part",
        suffix: str = "parquet",
        columns: list[str] | None = None,
    ) -> pa.Table:
        """A part whose checksum holds, or `columns` of a Parquet part; else DamagedPart."""
        path = self.file(index, table, suffix)
        try:
            with pa.OSFile(str(store.fetch(path))) as file:
                content = file.read_buffer()
            expected = self._checksum(path.name)
            if expected is not None and hashlib.sha256(content).hexdigest() != expected:
                raise DamagedPart(path)
            # Arrow's own buffer: its threads may still hold the file when the interpreter ends,
            # and a Python object that they let go of then aborts the process.
            reader = pa.BufferReader(content)
            if suffix == "arrow":
                return pa.ipc.open_file(reader).read_all()
            return pq.read_table(reader, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise DamagedPart(path) from error

    def map(self, index: int, table: str = "part") -> pa.Table:
        """An .arrow part as a memory map, its checksum tested first."""
        path = self.file(index, table, "arrow")
        if not store.fetch(path).is_file() or self._checksum(path.name) != sha256_file(path):
            raise DamagedPart(path)
        try:
            with pa.memory_map(str(path)) as file:  # the mapping outlives its file handle
                return pa.ipc.open_file(file).read_all()
        except pa.ArrowException as error:
            raise DamagedPart(path) from error

    def _checksum(self, file: str) -> str | None:
        return None if self.manifest is None else _read(self.folder).checksums.get(file)

    def finish(self, about: dict[str, dict[str, Any]] | None = None, **facts: Any) -> None:
        """Write the manifest over the parts that lie in the folder; `about` adds to a file."""
        with self.turn() as done:
            if not done:
                self._finish(about or {}, facts)

    def _finish(self, about: dict[str, dict[str, Any]], facts: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clean()
        files = sorted(path for path in self.folder.iterdir() if PART.fullmatch(path.name))
        parts = [
            {
                "file": path.name,
                "bytes": path.stat().st_size,
                "sha256": sha256_file(path),
                **about.get(path.name, {}),
            }
            for path in files
        ]
        manifest = {
            "stage": self.name,
            "hash": self.hash,
            "settings": self.settings,
            "inputs": [f"{stage.name}-{stage.hash}" for stage in self.inputs],
            **facts,
            "parts": parts,
        }
        manifest["manifest"] = fingerprint(manifest)
        write_file(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")

    def clean(self) -> None:
        """Remove what a killed build left half-written; only under the lock of OUT."""
        if turns.is_shared():  # another build may be writing it
            return
        for path in self.folder.glob(".*.tmp"):
            path.unlink()

    def begin(self) -> None:
        """Make the folder ready: no manifest, no half-written file, and no part that differs
        from what the manifest said of it."""
        try:
            with self.turn() as done:
                if done:
                    return
                self.folder.mkdir(parents=True, exist_ok=True)
                known = checksums_of(self.folder)
                forget(self.folder)
                self.clean()
        except OSError as error:
            raise output_error(self.folder, error) from error
        if self.at is None:  # shards are packed anew
            store.begin(self.folder, known)

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Alone among the builds that share; gives whether another has finished the stage."""
        with turns.own_turn(self.folder):
            yield turns.is_shared() and self.done


class _Manifest(NamedTuple):
    """What the file holds, the sha256 of each of its files, and how many files a table has."""

    found: dict[str, Any] | None
    checksums: dict[str, str]
    tables: Counter[str]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """None where there is none or it differs from its own fingerprint; not to be changed. Raises
    OutputError where it cannot be read."""
    return _read(folder).found


def checksums_of(folder: Path) -> dict[str, str]:
    """sha256 of each file that the folder's manifest names; none without a manifest."""
    return _read(folder).checksums


def _read(folder: Path) -> _Manifest:
    path = folder / MANIFEST
    try:
        found = path.stat()
        return _parse_manifest(path, (found.st_ino, found.st_mtime_ns, found.st_size))
    except (FileNotFoundError, NotADirectoryError):
        return _Manifest(None, {}, Counter())
    except OSError as error:
        raise output_error(path, error) from error


@functools.lru_cache(maxsize=256)
def _parse_manifest(path: Path, version: tuple[int, int, int]) -> _Manifest:
    """Parsed once a `version` of the file: each read of a part asks for its checksum."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or (
        found.get("manifest") != fingerprint(without(found, "manifest"))
    ):
        return _Manifest(None, {}, Counter())
    checksums = {part["file"]: part["sha256"] for part in found.get("parts", ())}
    return _Manifest(found, checksums, Counter(name.partition("-")[0] for name in checksums))


def without(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def forget(folder: Path) -> None:
    """Undo a stage's completion; its parts stay where they are as the manifest says."""
    manifest = read_manifest(folder)
    for part in manifest["parts"] if manifest else ():
        path = folder / part["file"]
        if path.is_file() and sha256_file(path) != part["sha256"]:
            path.unlink()
    store.remove(folder / MANIFEST)


def drop(damaged: DamagedPart) -> None:
    """Forget a damaged part and its stage's manifest, so that the build makes it again."""
    forget(damaged.path.parent)
    store.remove(damaged.path)
