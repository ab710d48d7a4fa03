"""Sources in an object store: what an address means, and each object fetched once to a file.

Nothing reads from a store as it goes along: a connection that is cut in the middle of a row
would have to be taken up there. An object is fetched as a whole when it is read, and again only
when it has changed.
"""

import os
import re
import threading
from pathlib import Path

from data import places
from data.errors import SourceError
from data.objects import Object, Objects

WILD = set("*?[")


def find(path: str) -> tuple[Path, dict[Path, Object]]:
    """The objects of an address: itself, all below it, or the matches of a glob; each by the file
    that it is fetched to, and the folder that they are named from."""
    whole = places.parse(path)
    folders = whole.key.split("/") if whole.key else []
    wild = next((n for n, folder in enumerate(folders) if set(folder) & WILD), None)
    if wild is not None:
        base = places.Address(whole.bucket, "/".join(folders[:wild]))
        matches = _pattern(folders[wild:])
        found = {n: about for n, about in Objects(base).find().items() if matches.fullmatch(n)}
    else:
        base = places.Address(whole.bucket, "/".join(folders[:-1]))
        last = folders[-1] if folders else ""
        named = Objects(base).find(last)
        if last in named:
            found = {last: named[last]}
        else:
            base = whole
            below = f"{last}/" if last else ""
            found = {n.removeprefix(below): a for n, a in named.items() if n.startswith(below)}
    files = {places.source(base.below(name)): about for name, about in sorted(found.items())}
    return places.source(base), files


def _pattern(folders: list[str]) -> re.Pattern[str]:
    """`*` and `?` end at a slash, `**` is any number of folders."""
    pieces = []
    for folder in folders[:-1]:
        pieces.append("(?:[^/]+/)*" if folder == "**" else f"{_name(folder)}/")
    return re.compile("".join(pieces) + _name(folders[-1]))


def _name(pattern: str) -> str:
    tokens = re.findall(r"\[!?[^\]]+\]|.", pattern)
    known = {"*": "[^/]*", "?": "[^/]"}
    return "".join(
        token.replace("[!", "[^", 1) if len(token) > 1 else known.get(token, re.escape(token))
        for token in tokens
    )


def identity(about: Object) -> str:
    """What tells one content of an object from another without reading it."""
    return f"{about.size}@{about.etag}"


def here(file: Path) -> Path:
    """A file that can be read: fetched, if it is that of an object. Raises SourceError."""
    address = places.address_of(file)
    if address is None:
        return file
    bucket, name = Objects(places.Address(address.bucket, "")), address.key
    known = file.with_name(f".{file.name}.etag")
    found = bucket.head(name)
    if found is None:
        raise SourceError("is gone", where=str(address))
    if file.is_file() and known.is_file() and known.read_text() == identity(found[0]):
        return file
    temporary = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        there = bucket.get(name, temporary)
        after = bucket.head(name)
        if not there or after is None or identity(after[0]) != identity(found[0]):
            raise SourceError("changed while it was read", where=str(address), fix="run it again")
        known.unlink(missing_ok=True)
        temporary.replace(file)
        known.write_text(identity(found[0]))
    except OSError as error:
        raise SourceError(f"cannot be kept ({error})", where=str(address)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return file


def local(path: str) -> Path:
    """The one file that a path means, which is not there yet if it is an object's."""
    return places.source(places.parse(path)) if places.is_url(path) else Path(path)
