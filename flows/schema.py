"""`shardmill schema`: the JSON schema of recipes, for editors that check YAML as it is written."""

import ast
import functools
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from filters import list_filters, load_filter
from flows.recipe import Recipe
from prompts import list_kinds, load_kind

Schema = dict[str, Any]
Model = type[BaseModel]
WHOLE = r"^[+-]?[0-9][0-9_]*$"
"""YAML 1.2, which editors read, takes 5_000_000 for a text; the recipe's reader does not."""


@functools.cache
def described(model: Model) -> dict[str, str]:
    """The docstring of each field, those of base classes included, as one line."""
    found = {}
    for base in reversed(model.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    found[name] = " ".join(words.split())
    return found


def nested(model: Model) -> Iterator[Model]:
    """The model, and all that its fields are made of, each once."""
    seen: list[Model] = []

    def look(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in seen:
                seen.append(kind)
                for field in kind.model_fields.values():
                    look(field.annotation)
            return
        for inner in get_args(kind):
            look(inner)

    look(model)
    return iter(seen)


def recipe_schema() -> Schema:
    """The schema of a recipe as it stands in its file, with the knobs of every kind and filter."""
    schema = _schema(Recipe)
    definitions = schema.pop("$defs")
    generate = definitions["Generate"]
    names = list_kinds()
    generate["properties"]["kind"]["enum"] = names
    generate["allOf"] = [_when_kind(name, definitions) for name in names]
    schema["properties"]["curate"]["items"] = _step(definitions)
    del definitions["CurationStep"]
    definitions["Benchmark"] = {"anyOf": [{"type": "string"}, definitions["Benchmark"]]}
    words = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    spelled = {
        "type": "object",
        "properties": {"words": words},
        "required": ["words"],
        "additionalProperties": False,
    }
    tokenizer = definitions["Output"]["properties"]["tokenizer"]
    tokenizer["anyOf"] = [{"type": tokenizer.pop("type")}, spelled]
    _widen([schema, definitions])
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "shardmill recipe"}
    return {**head, **schema, "definitions": dict(sorted(definitions.items()))}


def _schema(model: Model) -> Schema:
    schema = model.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    for part in nested(model):
        entry = schema if part is model else schema["$defs"][part.__name__]
        docs = described(part)
        for name, field in part.model_fields.items():
            place = entry["properties"][field.alias or name]
            place.pop("title", None)
            if name in docs:
                place["description"] = docs[name]
        entry.pop("title")
        entry.pop("description", None)
        if summary := part.__dict__.get("__doc__"):
            entry["description"] = summary.partition("\n")[0]
    return schema


def _knobs(name: str, what: str, model: Model, definitions: Schema) -> Schema:
    """A reference to the knobs of a kind or filter, which become a definition of their own."""
    schema = _schema(model)
    definitions.update(schema.pop("$defs", {}))
    definitions[f"{what}_{name}"] = schema
    return {"$ref": f"#/definitions/{what}_{name}"}


def _when_kind(name: str, definitions: Schema) -> Schema:
    knobs = _knobs(name, "kind", load_kind(name), definitions)
    allowed = [*load_kind(name).model_fields, "cross"]
    return {
        "if": {"properties": {"kind": {"const": name}}},
        "then": {"properties": {"knobs": knobs, "vary": {"propertyNames": {"enum": allowed}}}},
    }


def _step(definitions: Schema) -> Schema:
    """A filter's name, or a mapping of that name to its knobs with `only` and `except`."""
    scope = definitions["CurationStep"]["properties"]
    filters = {}
    for name in list_filters():
        reference = _knobs(name, "filter", load_filter(name), definitions)
        own = definitions[f"filter_{name}"]
        own.setdefault("properties", {}).update({key: scope[key] for key in ("only", "except")})
        filters[name] = {"anyOf": [reference, {"type": "null"}]}
    mapping = {
        "type": "object",
        "properties": filters,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": list_filters()}, mapping]}


def _widen(node: Any) -> None:
    """Let whole numbers be written with underscores."""
    if isinstance(node, dict):
        if node.get("type") == "integer":
            node.update(type=["integer", "string"], pattern=WHOLE)
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            _widen(inner)


def schema_text() -> str:
    return json.dumps(recipe_schema(), indent=1) + "\n"


def schema() -> None:
    """Print the JSON schema of recipes, for editors.

    Example: shardmill schema > recipe.schema.json

    In a recipe: # yaml-language-server: $schema=recipe.schema.json
    """
    print(schema_text(), end="")  # noqa: T201 - to be redirected
