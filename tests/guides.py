"""The documents and the examples in them."""

import re
import shlex

from data import ROOT

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GUIDES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


def guide_blocks(language: str) -> list[str]:
    return [block for guide in GUIDES for block in blocks(guide, language)]


def commands() -> list[list[str]]:
    """The words of each `shardmill ...` line of the guides' sh blocks."""
    lines = "\n".join(guide_blocks("sh")).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("shardmill ")]
