"""Where an `s3://` address rests on this machine, and which address a path is the copy of.

The copy of a build at s3://bucket/runs/one is SCRATCH/builds/STORE/bucket~runs~one, and that of
an object that is read as a source SCRATCH/sources/STORE/bucket/key; STORE tells endpoints apart.
A path alone tells its address: nothing is registered, and every process says the same.
"""

import functools
import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from data.errors import RecipeError

_URL = re.compile(r"s3:/+(.*)", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_FOLDER = re.compile(r"(?!\.{1,2}$)[\w.=+@,-]+", re.ASCII)
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
LONGEST = 255
"""Bytes of a file's name on common file systems."""


class Address(NamedTuple):
    """A bucket and a key in it, without a slash at either end; the key of a whole bucket is
    empty."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    def below(self, name: str) -> "Address":
        return Address(self.bucket, f"{self.key}/{name}".strip("/"))


def cache_folder() -> Path:
    """Where converted models rest: SHARDMILL_CACHE, else the user's cache folder."""
    chosen = os.environ.get("SHARDMILL_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardmill"


def is_url(place: str | Path) -> bool:
    """Also of a Path, which makes one slash of two."""
    return _URL.match(str(place)) is not None


def parse(place: str | Path) -> Address:
    """Raises RecipeError for what is no address of a bucket."""
    match = _URL.match(str(place))
    bucket, _, key = (match[1] if match else "").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise RecipeError(
            "names no bucket", where=str(place)[:200], fix="write s3://bucket/folder; keys and"
            " endpoint come from the environment"
        )  # fmt: skip
    return Address(bucket, key.strip("/"))


def mirror(address: Address) -> Path:
    """The folder of a build's copy. Raises RecipeError for a key that makes no name of one."""
    folders = address.key.split("/") if address.key else []
    name = "~".join([address.bucket, *folders])
    if len(name) > LONGEST or not all(_FOLDER.fullmatch(folder) for folder in folders):
        raise RecipeError(
            "cannot hold a build",
            where=str(address)[:200],
            fix="use letters, digits and . _ - = + @ , in the folders' names, 250 in all at most",
        )
    return _builds() / name


def source(address: Address) -> Path:
    """Where an object that is read as a source is kept. Raises RecipeError for a key with `..`."""
    if {".", ".."} & set(address.key.split("/")):
        raise RecipeError("cannot be read: its key has a folder . or ..", where=str(address))
    return _root("sources") / address.bucket / address.key


def address_of(path: Path) -> Address | None:
    """What a path is the copy of: of a build's or a source's file; None for any other."""
    if (out := out_of(path)) is not None:
        bucket, *folders = out.name.split("~")
        return Address(bucket, "/".join([*folders, *path.relative_to(out).parts]))
    if path.is_relative_to(_root("sources")):
        bucket, *keys = path.relative_to(_root("sources")).parts or ("",)
        return Address(bucket, "/".join(keys))
    return None


def out_of(path: Path) -> Path | None:
    """The copy of a build that a path is or lies in."""
    builds = _builds()
    if not str(path).startswith(f"{builds}/"):
        return None
    return builds / path.relative_to(builds).parts[0]


def shown(path: Path) -> str:
    """A path for people: the address that it is the copy of, if it is one."""
    return str(parse(path) if is_url(path) else address_of(path) or path)


def _builds() -> Path:
    return _root("builds")


def _root(kind: str) -> Path:
    chosen = os.environ.get("SHARDMILL_SCRATCH")
    scratch = Path(chosen) if chosen else cache_folder() / "scratch"
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    return _resolved(scratch, kind, endpoint)


@functools.lru_cache
def _resolved(scratch: Path, kind: str, endpoint: str | None) -> Path:
    """Two endpoints may have a bucket of one name."""
    digest = hashlib.sha256(endpoint.encode()).hexdigest()[:8] if endpoint else "aws"
    return scratch.resolve() / kind / f"s3-{digest}"
