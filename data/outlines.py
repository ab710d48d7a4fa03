"""Outlines of books and courses, walked to one row a unit.

An outline is YAML or JSON: mappings and lists of titles (`Mechanics: {Motion: [Speed]}`), or nodes
with a `title` and, under any one key such as chapters, sections, units or children, a list of
nodes. It may also be the text that a model writes: headings, numbers and bullets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from data.errors import SourceError
from data.rows import Row

TITLES = ("title", "name", "book", "course", "chapter", "section", "unit", "lesson", "topic")
POINTS = ("points", "focus")
REFERENCES = ("reference", "extract", "text")
COVERED = 20
"""Units before a unit that its row names, the last ones."""
DEEPEST = 50

_LINE = re.compile(r"^(\s*)(#{1,6}\s+|\d+(?:\.\d+)*[.):]?\s+|[-*+•]\s+)?(.*\S)\s*$")


@dataclass
class Node:
    title: str
    points: list[str] = field(default_factory=list)
    reference: str = ""
    more: Row = field(default_factory=dict)
    """Further texts and numbers, which the units below inherit."""
    children: list["Node"] = field(default_factory=list)


def read_outline(text: str) -> list[Node]:
    """Raises SourceError where the text is no outline."""
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found, problem = None, str(error).partition("\n")[0]
    else:
        problem = "it holds no titles"
    plain = isinstance(found, (dict, list)) and not re.match(r"\s*[-*#\d]", text)
    try:
        nodes = _nodes(found) if plain or text.lstrip().startswith("- ") else []
        nodes = nodes or _from_lines(text)
    except RecursionError as error:
        raise SourceError("is no outline", fix=f"it nests deeper than {DEEPEST}") from error
    if not any(node.children for node in nodes):
        raise SourceError(f"is no outline ({problem})", fix="see data/outlines.py for the forms")
    return nodes


def walk(nodes: list[Node]) -> Iterator[Row]:
    """One row a unit: `book`, `chapter`, `section` (joined where the outline is deeper, empty
    where it is flatter), `unit`, `covered` (the titles before it in its book), `focus` (its
    points) and `reference`."""
    for book in nodes:
        covered: list[str] = []
        for path in _units(book, []):
            unit = path[-1]
            titles = [node.title for node in path]
            inherited = {key: value for node in path for key, value in node.more.items()}
            yield {
                **inherited,
                "book": titles[0],
                "chapter": titles[1] if len(titles) > 2 else "",
                "section": " > ".join(titles[2:-1]),
                "unit": unit.title,
                "covered": covered[-COVERED:],
                "focus": unit.points,
                "reference": unit.reference,
            }
            covered.append(unit.title)


def _units(node: Node, above: list[Node]) -> Iterator[list[Node]]:
    path = [*above, node]
    if not node.children:
        yield path
    for child in node.children:
        yield from _units(child, path)


def _nodes(found: Any, depth: int = 0) -> list[Node]:
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(found, list):
        return [node for item in found for node in _nodes(item, depth + 1)]
    if not isinstance(found, dict):
        text = "" if found is None else str(found).strip()
        return [Node(text)] if text else []
    title = next((key for key in TITLES if isinstance(found.get(key), str)), None)
    if title is None:
        return [
            Node(str(key).strip(), children=_nodes(value, depth + 1))
            for key, value in found.items()
        ]
    node = Node(found[title].strip())
    for key, value in found.items():
        if key == title:
            continue
        if key in POINTS and isinstance(value, list):
            node.points = [str(point) for point in value]
        elif key in REFERENCES and isinstance(value, str):
            node.reference = value.strip()
        elif isinstance(value, (list, dict)):
            node.children += _nodes(value, depth + 1)
        elif value is not None:
            node.more[str(key)] = value
    return [node] if node.title else []


def _from_lines(text: str) -> list[Node]:
    """A line without a mark at the left is a book's title; headings and numbers nest by their
    depth; bullets nest by their indent, and under a number they are its points."""
    root = Node("")
    stack: list[tuple[float, Node]] = [(-1.0, root)]
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        indent, mark, title = len(found[1].expandtabs(4)), (found[2] or "").strip(), found[3]
        numbered = mark[:1].isdecimal()
        if mark and not numbered and mark[0] != "#" and isinstance(stack[-1][1].more.get("#"), str):
            stack[-1][1].points.append(title)
            continue
        if mark.startswith("#"):
            depth = float(len(mark)) / 10
        elif numbered:
            depth = 1.0 + mark.strip(".):").count(".") + indent / 100
        elif mark:
            depth = 10.0 + indent
        else:
            depth = 0.0
        while stack[-1][0] >= depth:
            stack.pop()
        node = Node(title.strip("*_ "), more={"#": mark} if numbered else {})
        stack[-1][1].children.append(node)
        stack.append((depth, node))
    return [_unmarked(node) for node in root.children]


def _unmarked(node: Node) -> Node:
    node.more.pop("#", None)
    node.children = [_unmarked(child) for child in node.children]
    return node
