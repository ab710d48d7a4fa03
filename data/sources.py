"""Seeds from files."""

import codecs
import json
from pathlib import Path
from typing import Any

from data.errors import SourceError


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; an unreadable line is named."""
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise SourceError(f"cannot be read ({error.strerror})", where=str(path)) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"is not JSON ({error})", where=f"{path}:{number}", fix="mend or remove the line"
            ) from error
        if not isinstance(row, dict):
            raise SourceError("is not a JSON object", where=f"{path}:{number}")
        rows.append(row)
    return rows
