"""A report as a browser's parser sees it: elements, attributes, and the text of each section."""

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "link", "br", "img", "hr"}


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        """By the id of the section that a text stands in."""
        self.inside: dict[str, str] = {}
        """What <style> and <script> hold."""
        self.rows: dict[str, list[list[str]]] = {}
        """By section, the cells of each table row."""
        self._open: list[str] = []
        self._section = ""
        self._raw = ""
        self.feed(self.source)
        self.close()

    @property
    def counts(self) -> Counter[str]:
        return Counter(tag for tag, _ in self.elements)

    def text(self, section: str) -> str:
        return " ".join(" ".join(self.texts[section]).split())

    def links(self) -> list[str]:
        return [a["href"] for tag, a in self.elements if tag == "a"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = attributes["id"]
        if tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        if tag in ("td", "th"):
            self.rows[self._section][-1].append("")
        self._raw = tag if tag in ("style", "script") else ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag
        self._raw = ""
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.inside[self._raw] = self.inside.get(self._raw, "") + data
            return
        self.texts.setdefault(self._section, []).append(data)
        if self._open and {"td", "th"} & set(self._open):
            self.rows[self._section][-1][-1] += data
