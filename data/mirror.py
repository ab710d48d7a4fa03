"""The copy of a build on this machine and the store that it is of; see data/store.py."""

import contextlib
import fnmatch
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data import places
from data.checksums import MANIFEST, md5_of, sha256_file
from data.errors import DamagedPart
from data.objects import Object, Objects, in_parallel
from data.outgoing import Outgoing
from data.parts import checksums_of
from data.segments import FOLDER as COMPLETIONS
from data.store import PARTS

LATER = f"{COMPLETIONS}/account-"
"""Written each second: sent with the logs."""
STAYS = ("logs", "train", "report", "exports")
"""Folders of OUT that are not fetched."""


class Mirror:
    """One OUT. Its objects are listed once and known from then on: only one build writes."""

    def __init__(self, out: Path, address: places.Address) -> None:
        self.out = out
        self._objects = Objects(address)
        self.outgoing = Outgoing(self._objects, out, self._send)
        self._lock = threading.RLock()
        self._listed: dict[str, Object] | None = None
        self._proven: set[str] = set()
        """Parts that the store has as they are here."""

    @property
    def listed(self) -> dict[str, Object]:
        with self._lock:
            if self._listed is None:
                self._listed = self._objects.find()
            return self._listed

    def name(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()

    def below(self, folder: Path, pattern: str = "*") -> list[str]:
        """Names of objects in a folder of OUT, however deep; the pattern is of what follows."""
        start = f"{self.name(folder)}/".removeprefix("./")
        with self._lock:
            return sorted(
                name
                for name in self.listed
                if name.startswith(start) and fnmatch.fnmatchcase(name[len(start) :], pattern)
            )

    def take_over(self) -> None:
        """With the lease: a stage that the store does not know as finished is not, and what an
        earlier run here has spent is told."""
        self.refresh()
        for folder in ("stages", "shards"):
            for path in self.out.glob(f"{folder}/*/{MANIFEST}"):
                if self.name(path) not in self.listed:
                    path.unlink()
        for path in self.out.glob(f"{LATER}*.json"):
            if self.name(path) not in self.listed:
                self.outgoing.add_later(path)

    def refresh(self) -> None:
        """List the store, and fetch the small files that differ."""
        with self._lock:
            self._listed, self._proven = self._objects.find(), set()
        for name in self.listed:
            if name.startswith("stages/"):
                (self.out / name).parent.mkdir(parents=True, exist_ok=True)
        wanted = [name for name in self.listed if _is_small(name) and not self._is_here(name)]
        in_parallel(self._fetch_small, wanted)
        for name in wanted:
            if name.endswith(f"/{MANIFEST}"):
                self._forget_unlike((self.out / name).parent)

    def _is_here(self, name: str) -> bool:
        path, about = self.out / name, self.listed[name]
        if not path.is_file() or path.stat().st_size != about.size:
            return False
        return name in self._proven or md5_of(path) == about.etag

    def _fetch_small(self, name: str) -> None:
        with contextlib.suppress(DamagedPart):  # gone since it was listed
            self._fetch(name, None)

    def _forget_unlike(self, folder: Path) -> None:
        """Parts of another making of the stage, under a manifest that was fetched."""
        for file, digest in checksums_of(folder).items():
            path = folder / file
            if path.is_file() and sha256_file(path) != digest:
                path.unlink()

    def _fetch(self, name: str, digest: str | None) -> None:
        """Write an object here. Raises DamagedPart where it is gone or its checksum is another."""
        path = self.out / name
        temporary = _temporary(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._objects.get(name, temporary):
                raise DamagedPart(path)
            if digest is not None and sha256_file(temporary) != digest:
                raise DamagedPart(path)
            if about := self.listed.get(name):
                os.utime(temporary, (about.modified, about.modified))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def fetch(self, path: Path) -> None:
        """Make a file be here, its checksum proven; one that the store has not stays missing."""
        name = self.name(path)
        if path.is_file() or name not in self.listed:
            return
        digest = checksums_of(path.parent).get(path.name)
        if digest is None and path.suffix in PARTS:
            found = self._objects.head(name)
            digest = found[1] if found else None
            if digest is None:
                raise DamagedPart(path)
        self._fetch(name, digest)

    def fetch_below(self, folder: Path, pattern: str) -> None:
        in_parallel(self.fetch, [self.out / name for name in self.below(folder, pattern)])

    def mended(self, path: Path) -> bool:
        """Whether the store has the part as its manifest says, and it is here again."""
        digest = checksums_of(path.parent).get(path.name)
        if digest is None or self.name(path) not in self.listed:
            return False
        with contextlib.suppress(DamagedPart):
            self._fetch(self.name(path), digest)
            return True
        return False

    def begin(self, folder: Path, checksums: dict[str, str]) -> None:
        """Make the parts of an unfinished stage those that the store has and that can be proven;
        `checksums` are of a manifest that it had. Raises DamagedPart for one that cannot be, once
        all such are removed."""
        names = [name for name in self.below(folder, "*") if name.endswith(PARTS)]
        unproven: list[str] = []

        def settle(name: str) -> None:
            path = self.out / name
            digest = checksums.get(path.name)
            if self._is_here(name):
                self._proven.add(name)
            elif digest is not None and path.is_file():
                self.outgoing.uploads.add(path)  # `forget` has tested it
            else:
                found = self._objects.head(name)
                known = found[1] if found else None
                try:
                    if known is None or digest not in (None, known):
                        raise DamagedPart(path)
                    self._fetch(name, known)
                    self._proven.add(name)
                except DamagedPart:
                    unproven.append(name)

        in_parallel(settle, names)
        for path in folder.iterdir():
            if path.suffix in PARTS and self.name(path) not in names:
                if path.name in checksums:
                    self.outgoing.uploads.add(path)
                else:
                    path.unlink()
        if unproven:
            self.remove(self.out / name for name in unproven)
            raise DamagedPart(self.out / min(unproven))

    def put(self, path: Path, content: bytes) -> None:
        """A small file, before it is written here; a manifest after all of its parts."""
        self.outgoing.lease.renew()
        name = self.name(path)
        if path.name == MANIFEST:
            self._finish_parts(path.parent, json.loads(content).get("parts", ()))
        self._objects.put(name, content)
        self._known(name, len(content))

    def _finish_parts(self, folder: Path, parts: Sequence[dict[str, Any]]) -> None:
        for part in parts:
            name = self.name(folder / part["file"])
            about = self.listed.get(name)
            if name not in self._proven or about is None or about.size != part["bytes"]:
                self.outgoing.uploads.add(folder / part["file"])
        self.outgoing.uploads.flush(folder)
        files = {part["file"] for part in parts}
        stale = [name for name in self.below(folder) if name.endswith(PARTS)]
        self.remove(self.out / name for name in stale if Path(name).name not in files)

    def push(self, folder: Path) -> None:
        files = {path for path in folder.rglob("*") if path.is_file()}
        self.remove({self.out / name for name in self.below(folder)} - files)
        for path in sorted(files - {folder / MANIFEST}):
            self.outgoing.uploads.add(path)
        self.outgoing.uploads.flush(folder)
        self.put(folder / MANIFEST, (folder / MANIFEST).read_bytes())

    def add(self, path: Path) -> None:
        """A file that is whole here, to be sent in the background."""
        if self.is_later(path):
            self.outgoing.add_later(path)
        else:
            self._proven.discard(self.name(path))
            self.outgoing.uploads.add(path)

    def is_later(self, path: Path) -> bool:
        return self.name(path).startswith(LATER)

    def _send(self, path: Path) -> None:
        if path.is_file():
            name, size = self.name(path), path.stat().st_size
            self._objects.put_file(name, path, sha256_file(path))
            self._known(name, size)

    def _known(self, name: str, size: int) -> None:
        with self._lock:
            self.listed[name] = Object(size, "", time.time())
            self._proven.add(name)

    def remove(self, paths: Iterable[Path]) -> None:
        """From the store and from here."""
        gone = set(paths)
        self.outgoing.uploads.drop(gone)
        names = sorted(self.name(path) for path in gone)
        manifests = [name for name in names if name.endswith(MANIFEST)]
        for group in (manifests, [name for name in names if name not in manifests]):
            self._objects.remove([name for name in group if name in self.listed])
        with self._lock:
            for name in names:
                self.listed.pop(name, None)
                self._proven.discard(name)
        for path in gone:
            path.unlink(missing_ok=True)

    def digest(self, path: Path) -> str | None:
        """sha256 of the object as it is in the store now, which takes the place of what is here
        if it is right; None where there is none."""
        temporary = _temporary(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not self._objects.get(self.name(path), temporary):
                return None
            found = sha256_file(temporary)
            if found == checksums_of(path.parent).get(path.name):
                os.replace(temporary, path)
            return found
        finally:
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A name of this thread's own: several processes may fetch one file."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")


def _is_small(name: str) -> bool:
    folder = name.partition("/")[0]
    return (
        folder not in STAYS
        and not name.endswith(PARTS)
        and (folder != COMPLETIONS or name.startswith(LATER))
    )
