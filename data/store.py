"""A build whose OUT lies in an object store, and its copy on this machine.

Kernels map files, logs are appended to and parts are renamed into place, none of which a store
can do. So a build works in a local copy (data/places.py), and the store is the truth:

- Small files (manifests, recipes, tables) go into the store before they appear here. A part is
  sent in the background once it is whole here. A manifest waits for its parts.
- What the store has and the copy lacks is fetched when it is asked for. A part counts only where
  its checksum is proven: by its manifest, or in a stage without one by the sha256 that was put
  with it. Of such a stage, what lies here and not in the store is made again.
- Logs of completions are sent in pieces every few seconds (data/segments.py).

Every function here takes any path, and does no more than a local build needs for one that is of
no such copy.
"""

import contextlib
import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from data import places
from data.checksums import sha256_file
from data.errors import SourceError

if TYPE_CHECKING:
    from data.mirror import Mirror

HERE = ("logs", "train")
"""Folders of OUT that stay on this machine."""
PARTS = (".parquet", ".arrow")
DERIVED = (".npz", ".ipc")
"""Indices, which are made again from what they are of."""
PASSING = ("sketches-", "references-", "referencetexts-")
"""Parts of a corpus filter's stage that are removed when its verdicts are there."""
_mirrors: dict[Path, "Mirror"] = {}
_opening = threading.Lock()


def mirror_of(path: Path) -> "Mirror | None":
    out = places.out_of(path)
    if out is None:
        return None
    with _opening:
        if out not in _mirrors:
            from data.mirror import Mirror  # noqa: PLC0415 - for stores alone

            address = places.address_of(out)
            if address is None:
                raise ValueError(f"{out} is no copy")
            _mirrors[out] = Mirror(out, address)
        return _mirrors[out]


def _kept(path: Path) -> "Mirror | None":
    """The mirror of a file that belongs into the store."""
    mirror = mirror_of(path)
    if mirror is None or path.suffix in DERIVED or path.name.startswith(PASSING):
        return None
    folders = path.relative_to(mirror.out).parts
    if folders[0] in HERE or any(name.startswith(".") for name in folders):
        return None
    return mirror


def open_out(place: str | Path) -> Path:
    """The folder that a build works in: the copy of an address, or the path itself.

    Raises RecipeError for an address that can hold no build, StoreError where the store cannot
    be read.
    """
    if not places.is_url(place):
        return Path(place)
    out = places.mirror(places.parse(place))
    mirror = mirror_of(out)
    if mirror is not None and not _is_building(out):
        mirror.refresh()
    return out


def open_path(place: str | Path) -> Path:
    """The same for an address in a build, such as that of one output's shards. Raises
    SourceError where there is nothing."""
    if not places.is_url(place):
        return Path(place)
    from data.objects import Objects  # noqa: PLC0415 - for stores alone

    whole = places.parse(place)
    folders = whole.key.split("/") if whole.key else []
    for length in range(len(folders), -1, -1):
        out = places.Address(whole.bucket, "/".join(folders[:length]))
        if Objects(out).find("recipes/"):
            return open_out(str(out)).joinpath(*folders[length:])
    found = open_out(str(whole))
    mirror = mirror_of(found)
    if mirror is None or not mirror.listed:
        raise SourceError("holds nothing", where=str(whole), fix="check the bucket and the folder")
    return found


def _is_building(out: Path) -> bool:
    """Whether a process of this machine holds the copy: it is as the store is then, or newer."""
    try:
        with open(out / "logs" / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def holding(out: Path) -> Iterator[None]:
    """Be the one build that writes to a store; on leaving, all that was written is there."""
    mirror = mirror_of(out)
    with mirror.outgoing.holding(mirror.take_over) if mirror else contextlib.nullcontext():
        yield


def writing(path: Path, content: bytes) -> None:
    """Before a small file appears under its name."""
    if not path.name.endswith(PARTS) and (mirror := _kept(path)) and not mirror.is_later(path):
        mirror.put(path, content)


def written(path: Path) -> None:
    """Behind it, and behind a part."""
    mirror = _kept(path)
    if mirror and (path.name.endswith(PARTS) or mirror.is_later(path)):
        mirror.add(path)


def size_of(path: Path) -> int | None:
    """Bytes of a file as the store has it, or as it lies here; None where it is not."""
    mirror = mirror_of(path)
    if mirror is None:
        return path.stat().st_size if path.is_file() else None
    about = mirror.listed.get(mirror.name(path))
    return about.size if about else None


def is_there(path: Path) -> bool:
    """Here or in the store."""
    return path.is_file() or size_of(path) is not None


def fetch(path: Path) -> Path:
    """Make a file be here, if the store has it. Raises DamagedPart where it has another."""
    if not path.is_file() and (mirror := mirror_of(path)):
        mirror.fetch(path)
    return path


def fetch_all(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match, all of them here, in order."""
    if mirror := mirror_of(folder):
        mirror.fetch_below(folder, pattern)
    return sorted(folder.glob(pattern))


def names_in(folder: Path, pattern: str) -> set[str]:
    """Names of a folder's files that match, here or in the store."""
    names = {path.name for path in folder.glob(pattern)}
    if mirror := mirror_of(folder):
        names |= {Path(name).name for name in mirror.below(folder, pattern)}
    return names


def sizes_in(folder: Path, pattern: str = "*") -> dict[str, int]:
    """Bytes of the files in a folder, as the store has them or as they lie here."""
    if mirror := mirror_of(folder):
        return {name: mirror.listed[name].size for name in mirror.below(folder, pattern)}
    return {path.name: path.stat().st_size for path in folder.glob(pattern) if path.is_file()}


def begin(folder: Path, checksums: dict[str, str]) -> None:
    """See Mirror.begin."""
    if mirror := mirror_of(folder):
        mirror.begin(folder, checksums)


def remove(*paths: Path) -> None:
    """Files, also of the store; manifests first."""
    mirror = mirror_of(paths[0]) if paths else None
    if mirror:
        mirror.remove(paths)
    for path in paths:
        path.unlink(missing_ok=True)


def remove_below(folder: Path) -> None:
    """What the store has in a folder; what lies here is left to the caller."""
    if mirror := mirror_of(folder):
        mirror.remove(mirror.out / name for name in mirror.below(folder))


def is_mended(path: Path) -> bool:
    """Whether a damaged part could be fetched again as its manifest says."""
    mirror = mirror_of(path)
    return mirror is not None and mirror.mended(path)


def sha256_of(path: Path) -> str | None:
    """Of the file as the store has it now, or as it lies here; None where it is not."""
    if mirror := mirror_of(path):
        return mirror.digest(path)
    return sha256_file(path) if path.is_file() else None


def push(folder: Path) -> None:
    """Put a finished folder that was not written file by file; its manifest comes last."""
    if mirror := _kept(folder):
        mirror.push(folder)


def fetch_logs(folder: Path) -> None:
    """The record of completions, as far as the store has it."""
    if mirror := mirror_of(folder):
        mirror.outgoing.fetch_logs(list(mirror.listed))


def appended(log: Path, size: int) -> None:
    """The first `size` bytes of a log are on the disk."""
    if mirror := mirror_of(log):
        mirror.outgoing.appended(log.name, size)


def flush() -> None:
    """Return when all that this process wrote is in its stores."""
    for mirror in list(_mirrors.values()):
        mirror.outgoing.flush()
