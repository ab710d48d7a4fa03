"""One row of a source: read from JSON, its columns chosen and cut, and written as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from data.errors import SourceError
from data.schema import canonical

Row = dict[str, Any]


def read_json(text: bytes) -> Any:
    """JSON; what a strict reader refuses and Python takes (a lone surrogate) is taken."""
    try:
        return orjson.loads(text)
    except ValueError:
        return json.loads(text)


def pick(row: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    """The row's columns by their new names; `messages.0.content` goes into a value.

    Raises SourceError where one is missing.
    """
    return {name: _value(row, path) for name, path in columns.items()}


def _value(row: Mapping[str, Any], path: str) -> Any:
    if path in row:
        return row[path]
    at: Any = row
    for key in path.split("."):
        if isinstance(at, Mapping) and key in at:
            at = at[key]
        elif isinstance(at, list) and key.isdecimal() and int(key) < len(at):
            at = at[int(key)]
        else:
            raise SourceError(f"has no column {path!r}", fix=f"it has {', '.join(row) or 'none'}")
    return at


def find(row: Mapping[str, Any], path: str) -> Any:
    """The value at a path; None where there is none."""
    try:
        return _value(row, path)
    except SourceError:
        return None


def matches(row: Mapping[str, Any], where: Mapping[str, Any], where_not: Mapping[str, Any]) -> bool:
    """Whether the row has one of the values at each path of `where`, and none of `where_not`."""
    return all(find(row, path) in values for path, values in where.items()) and not any(
        find(row, path) in values for path, values in where_not.items()
    )


def cut(text: str, characters: int) -> str:
    """The first `characters` of a text at most, cut between words where there are any."""
    if len(text) <= characters:
        return text
    kept = text[: characters + 1]
    if kept[-1].isspace():
        return kept.rstrip()
    words = kept.rsplit(None, 1)
    return words[0] if len(words) > 1 else text[:characters]


def encode(row: Row) -> str:
    """The row as JSON with sorted keys. Raises SourceError for what JSON cannot hold."""
    try:
        return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        pass
    try:
        return canonical(row).decode("utf-8", "replace")
    except (TypeError, RecursionError) as error:
        raise SourceError(f"holds a value that is no text or number ({error})") from error
