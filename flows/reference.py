"""Writes docs/recipe.md, kinds.md, filters.md and recipe.schema.json from the code.

`make docs` runs it; tests/test_reference.py compares what is committed with what it writes.
"""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from data.mapping import Scalar
from filters import Cleaner, CorpusFilter, list_filters, load_filter
from flows.loading import SHIPPED
from flows.recipe import CurationStep, Recipe
from flows.schema import Model, described, nested, schema_text
from flows.seeds import described as described_needs
from prompts import TaskKind, list_kinds, load_kind

MADE = "<!-- Made from the code by `make docs`. -->\n"
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}
TYPES = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    Any: "anything",
    NoneType: "null",
}


def shown(value: Any) -> str:
    """A value as a recipe has it."""
    return value if isinstance(value, str) and value else json.dumps(value, default=list)


def type_of(kind: Any) -> str:
    """A field's type in words."""
    if kind in TYPES:
        return TYPES[kind]
    if kind == Scalar:
        return "value"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "mapping"
    inner = get_args(kind)
    if set(get_args(Scalar)) < set(inner):
        return "value or list of values"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if get_origin(kind) is tuple:
        return f"list of {type_of(inner[0])}"
    if get_origin(kind) is dict:
        return f"mapping of {type_of(inner[0])} to {type_of(inner[1])}"
    return " or ".join(dict.fromkeys(type_of(one) for one in inner if one is not NoneType))


def _limits(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        for name, words in BOUNDS.items():
            if (limit := getattr(rule, name, None)) is not None:
                yield words.format(f"{limit:,}" if isinstance(limit, int) else limit)
        if getattr(rule, "min_length", None):
            yield "not empty"
        if getattr(rule, "pattern", None):
            yield f"as `{rule.pattern}`"


def field_line(model: Model, name: str) -> str:
    """A list item: key, type, bounds, default, meaning."""
    field = model.model_fields[name]
    facts = [" ".join([type_of(field.annotation), *_limits(field)])]
    if field.is_required():
        facts.append("required")
    elif field.default not in (None, (), {}, "", PydanticUndefined) and not isinstance(
        field.default, BaseModel
    ):
        facts.append(f"default `{shown(field.default)}`")
    meaning = described(model).get(name, "")
    return f"- `{field.alias or name}` ({'; '.join(facts)}){': ' + meaning if meaning else ''}\n"


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").strip()


def _own_doc(model: Model) -> str:
    return _prose(model.__dict__.get("__doc__"))


def _knobs(model: Model) -> str:
    return "".join(field_line(model, name) for name in model.model_fields) or "No knobs.\n"


def recipe_page() -> str:
    """Every block and key, in the order of a recipe."""
    page = [
        MADE,
        "# The recipe: every block and key\n",
        "A recipe is one YAML file. Unknown keys are refused with the nearest name. `--set "
        "key.key=value` changes any key for one run. The same as a JSON schema for editors: "
        "[recipe.schema.json](recipe.schema.json), or `shardmill schema`; name it in a comment, "
        "`# yaml-language-server: $schema=PATH`. Kinds' and filters' knobs: [kinds.md](kinds.md), "
        "[filters.md](filters.md). Examples: flows/recipes/.\n",
        *(f"## {place}\n{_block(model)}" for place, model in _places(Recipe, "")),
    ]
    return "\n".join(page)


def _block(model: Model) -> str:
    doc = _own_doc(model)
    if model is CurationStep:
        doc = (
            "A list, in order. An entry is a filter's name, or that name with its knobs and with "
            "`only` or `except` among them: `- length: {min_tokens: 150, except: [roleplay]}`."
        )
        names = ["only", "except_"]
    else:
        names = list(model.model_fields)
    head = f"{doc}\n\n" if doc else ""
    return head + "".join(field_line(model, name) for name in names)


def _places(model: Model, place: str) -> Iterator[tuple[str, Model]]:
    """A model and those inside it, with the keys that lead there."""
    yield place or "Top level", model
    for name, field in model.model_fields.items():
        inner = [one for one in nested_directly(field.annotation) if one is not model]
        key = field.alias or name
        named = {"generate": ".NAME", "corpora": ".NAME", "outputs": ".NAME", "mix": ".SOURCE"}
        for one in inner:
            yield from _places(one, f"{place}.{key}".lstrip(".") + named.get(key, ""))


def nested_directly(kind: Any) -> list[Model]:
    """The models that a field's type names."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for inner in get_args(kind) for model in nested_directly(inner)]


def kinds_page() -> str:
    """Every task kind: purpose, seeds, knobs, refusals."""
    tour = yaml.safe_load((SHIPPED / "kinds.yaml").read_text(encoding="utf-8"))["generate"]
    seeds = {one["kind"]: _seeds(one["seeds"], tour) for one in tour.values()}
    page = [
        MADE,
        "# Task kinds\n",
        "A kind makes a prompt of a seed and a sample of the reply. Knobs stand under `knobs`, or "
        "under `vary` to differ from row to row. `shardmill preview KIND` shows its prompts. "
        "A reply is also refused where it is empty, refuses, loops or is in another language.\n",
    ]
    page += [_kind(name, load_kind(name), seeds.get(name, "")) for name in list_kinds()]
    return "\n".join(page)


def _kind(name: str, kind: type[TaskKind], seeds: str) -> str:
    facts = [f"Tag: `{kind.TAG}`."] if kind.TAG else []
    if not kind.TRAINS:
        facts.append("Its samples are verdicts and go into no output.")
    facts.append(f"Seeds: {described_needs(kind.NEEDS) or 'none of a certain form'}, {seeds}.")
    refused = sorted({example.refused for example in kind.EXAMPLES if example.refused})
    facts.append(f"Refuses, for instance: {', '.join(f'`{reason}`' for reason in refused)}.")
    return f"## {name}\n{_own_doc(kind)}\n\n{' '.join(facts)}\n\n{_knobs(kind)}"


def _seeds(seeds: dict[str, str], tour: dict[str, Any]) -> str:
    """What the tour of kinds makes a kind's prompts from."""
    if "file" in seeds:
        return f"as in {seeds['file']}"
    whole = " read as an outline" if seeds.get("as") == "outline" else ""
    return f"from samples of `{tour[seeds['from']]['kind']}`{whole}"


def filters_page() -> str:
    """Every filter: purpose, knobs, reasons."""
    page = [
        MADE,
        "# Filters\n",
        "`curate` lists them, in order. Each may also say `only:` or `except:` sources or tags. "
        "A row filter judges a sample by itself, a corpus filter compares samples, a cleaner "
        "changes text.\n",
    ]
    for name in list_filters():
        judge = load_filter(name)
        form = "Row filter."
        if issubclass(judge, CorpusFilter):
            form = "Corpus filter."
        elif issubclass(judge, Cleaner):
            form = "Cleaner."
        reasons = sorted({reason for one in judge.EXAMPLES for reason in one.reasons if reason})
        if reasons:
            form += f" Reasons, for instance: {', '.join(f'`{reason}`' for reason in reasons)}."
        page.append(f"## {name}\n{_own_doc(judge)}\n\n{form}\n\n{_knobs(judge)}")
        extra = (m for m in nested(judge) if m is not judge)
        page += [f"`{one.__name__}`: {_own_doc(one)}\n\n{_knobs(one)}" for one in extra]
    return "\n".join(page)


def pages() -> dict[str, str]:
    """Each file of docs/ that is made from the code, by its name."""
    return {
        "recipe.md": recipe_page(),
        "kinds.md": kinds_page(),
        "filters.md": filters_page(),
        "recipe.schema.json": schema_text(),
    }


def main(folder: str) -> None:
    for name, text in pages().items():
        Path(folder, name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
