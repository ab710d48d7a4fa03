"""What `shardmill list` prints, read from the code itself."""

from collections.abc import Callable

import yaml

from data.export import list_exporters, load_exporter
from data.templates import TEMPLATES
from data.tokenization import PACKAGED
from filters import list_filters, load_filter
from flows.loading import SHIPPED, list_recipes
from prompts import list_kinds, load_kind

Lines = list[tuple[str, str]]


def _first(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _recipes() -> Lines:
    lines = []
    for name in list_recipes():
        path = SHIPPED / f"{name}.yaml"
        head = path.read_text().partition("\n")[0].removeprefix("#").strip()
        data = yaml.safe_load(path.read_text())
        lines.append(
            (name, f"{head} [{', '.join([*data.get('generate', {}), *data.get('corpora', {})])}]")
        )
    return lines


def _kinds() -> Lines:
    lines = []
    for name in list_kinds():
        kind = load_kind(name)
        tag = f"[{kind.TAG}] " if kind.TAG else ""
        needs = f" Seeds: {', '.join(kind.NEEDS)}." if kind.NEEDS else ""
        knobs = ", ".join(kind.model_fields) or "none"
        lines.append((name, f"{tag}{_first(kind.__doc__)}{needs} Knobs: {knobs}."))
    return lines


def _filters() -> Lines:
    loaded = [(name, load_filter(name)) for name in list_filters()]
    return [
        (name, f"{_first(judge.__doc__)} Knobs: {', '.join(judge.model_fields) or 'none'}.")
        for name, judge in loaded
    ]


LISTS: dict[str, Callable[[], Lines]] = {
    "recipes": _recipes,
    "kinds": _kinds,
    "filters": _filters,
    "tokenizers": lambda: [
        *PACKAGED.items(),
        ("PATH or ORG/NAME", "a tokenizer.json, its folder, or a hub id"),
        ("{words: [...]}", "one id a word, then <pad> and <unk>"),
    ],
    "templates": lambda: [
        *((name, made.about) for name, made in TEMPLATES.items()),
        ("PATH.jinja", "a chat template of your own, in the form that transformers knows"),
    ],
    "exporters": lambda: [(name, _first(load_exporter(name).__doc__)) for name in list_exporters()],
}
