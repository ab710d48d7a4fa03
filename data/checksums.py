"""Checksums of files and of what a manifest says of them."""

import contextlib
import functools
import hashlib
import json
from pathlib import Path

MANIFEST = "manifest.json"


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def checksums_of(folder: Path) -> dict[str, str]:
    """sha256 of each file that the folder's manifest names; none without a manifest."""
    path = folder / MANIFEST
    try:
        state = path.stat()
    except OSError:
        return {}
    return _parsed(path, (state.st_ino, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, version: tuple[int, int, int]) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return {p["file"]: p["sha256"] for p in json.loads(path.read_bytes())["parts"]}
    return {}
