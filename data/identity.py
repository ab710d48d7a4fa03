"""What tells one content of files from another: the hash of a stage that reads them covers it."""

from pathlib import Path

from data import remote
from data.checksums import sha256_file
from data.places import is_url
from data.sources import find_files

LARGE = 1 << 28
"""Bytes from which a file is known by its size and time, not by its content."""


def identify(path: str, form: str | None = None) -> str | list[list[str]]:
    """What the files are: a file's sha256, or each one's name and sha256; of objects the ETag, so
    that none is fetched to plan a build."""
    base, files = find_files(path, form)
    known = remote.find(path)[1] if is_url(path) else {}
    said = [remote.identity(known[file]) if file in known else _identity(file) for file in files]
    if len(files) == 1:
        return said[0]
    names = [str(file.relative_to(base)) for file in files]
    return [[name, identity] for name, identity in zip(names, said, strict=True)]


def _identity(file: Path) -> str:
    state = file.stat()
    return sha256_file(file) if state.st_size < LARGE else f"{state.st_size}@{state.st_mtime_ns}"
