"""Jupyter notebooks as scripts: code as code, prose as comments, outputs left out."""

import re
from typing import Any

from data.errors import SourceError
from data.rows import read_json

SLASHES = {"c", "c++", "cpp", "c#", "csharp", "f#", "go", "java", "javascript", "kotlin", "rust",
           "scala", "swift", "typescript"}  # fmt: skip
"""Languages whose line comments begin with two slashes; all others with #."""
MAGIC = re.compile(r"(?m)^(?=[ \t]*[%!?])")
"""Lines that only IPython understands."""


def to_script(notebook: str) -> str:
    """Cells in their order, a blank line between. Raises SourceError for what is no notebook.

    Read are the format's versions 3 and 4.
    """
    try:
        found = read_json(notebook.encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise SourceError("is no notebook: not a JSON object")
    cells = found.get("cells")
    if cells is None and isinstance(found.get("worksheets"), list):
        sheets = [sheet for sheet in found["worksheets"] if isinstance(sheet, dict)]
        parts = [sheet.get("cells") for sheet in sheets]
        cells = [cell for part in parts if isinstance(part, list) for cell in part]
    if not isinstance(cells, list):
        raise SourceError("is no notebook: it has no cells")
    comment = "// " if _language(found) in SLASHES else "# "
    blocks = [_block(cell, comment) for cell in cells]
    script = "\n\n".join(block for block in blocks if block.strip()) + "\n"
    return script.encode("utf-8", "replace").decode()  # JSON may escape half a character


def _language(notebook: dict[str, Any]) -> str:
    about = notebook.get("metadata")
    about = about if isinstance(about, dict) else {}
    for part, key in (("language_info", "name"), ("kernelspec", "language")):
        found = about.get(part)
        if isinstance(found, dict) and isinstance(found.get(key), str):
            return str(found[key]).lower()
    return "python"


def _block(cell: Any, comment: str) -> str:
    if not isinstance(cell, dict):
        raise SourceError("is no notebook: a cell is no JSON object")
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source or "")
    text = text.strip("\n").rstrip()
    if cell.get("cell_type") == "code":
        return MAGIC.sub(comment, text)
    return "\n".join((comment + line).rstrip() for line in text.splitlines())
