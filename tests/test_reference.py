"""The pages and the schema that are made from the code, and the recipes that they describe."""

import copy
import json
from typing import Any

import jsonschema
import pytest
import yaml

from data import ROOT
from data.errors import RecipeError
from filters import list_filters, load_filter
from flows.engine_recipe import SamplingChange
from flows.listing import LISTS
from flows.loading import SHIPPED, list_recipes, load_recipe
from flows.recipe import Recipe
from flows.reference import field_line, pages
from flows.schema import Model, described, nested, recipe_schema
from prompts import list_kinds, load_kind

MODELINE = "# yaml-language-server: $schema=../../docs/recipe.schema.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    schema = recipe_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def raw(name: str) -> Any:
    """A recipe's file as an editor sees it, with texts for keys."""
    return json.loads(json.dumps(yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())))


def test_what_is_made_from_the_code_is_fresh() -> None:
    stale = [
        name
        for name, text in pages().items()
        if not (path := ROOT / "docs" / name).is_file() or path.read_text() != text
    ]
    assert not stale, f"docs/{stale} differ from the code: run `make docs`"


def test_every_key_and_knob_is_explained() -> None:
    models: list[Model] = [Recipe, *(load_kind(name) for name in list_kinds())]
    models += [load_filter(name) for name in list_filters()]
    left = [
        f"{model.__name__}.{name}"
        for top in models
        for model in nested(top)
        for name in model.model_fields
        if model is not SamplingChange and name not in described(model)  # as those of Sampling
    ]
    assert left == []


def test_a_line_tells_type_bounds_default_and_meaning() -> None:
    assert field_line(load_filter("near_duplicate"), "ngram") == (
        "- `ngram` (whole number from 1 to 32; default `5`): Words.\n"
    )


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_fit_the_schema_and_name_it(
    name: str, validator: jsonschema.Draft7Validator
) -> None:
    assert [error.message for error in validator.iter_errors(raw(name))] == []
    lines = (SHIPPED / f"{name}.yaml").read_text().splitlines()
    assert MODELINE in lines[1:], f"write {MODELINE!r} behind the description of {name}.yaml"


def test_the_description_of_a_recipe_is_its_first_line() -> None:
    assert all("yaml-language-server" not in line for _, line in LISTS["recipes"]())


WRONG = {
    "generate.textbooks.sample": 20,
    "generate.textbooks.samples": 0,
    "generate.textbooks.kind": "text_book",
    "generate.textbooks.knobs": {"word": 120},
    "generate.textbooks.vary": {"audiences": ["college"]},
    "generate.textbooks.seeds.files": "a.txt",
    "engine.sampling.top_p": 1.5,
    "curate": [{"length": {"min_token": 40}}],
    "outputs.pretrain.pack": "worst_fit",
    "outputs.pretrain.tokenizer": {"word": ["a"]},
}


@pytest.mark.parametrize("place", WRONG)
def test_what_the_schema_refuses_is_refused(
    place: str, validator: jsonschema.Draft7Validator
) -> None:
    """By the recipe's own reader too, so that an editor cries no wolf."""
    recipe = copy.deepcopy(raw("demo"))
    *path, last = place.split(".")
    at = recipe
    for key in path:
        at = at[key]
    at[last] = WRONG[place]
    assert not validator.is_valid(recipe)
    with pytest.raises(RecipeError):
        load_recipe("demo", [f"{place}={json.dumps(WRONG[place])}"])


def test_what_the_reader_takes_fits_the_schema(validator: jsonschema.Draft7Validator) -> None:
    recipe = raw("demo")
    recipe["curate"] = ["exact_duplicate", {"repetition": None}, {"length": {"only": ["math"]}}]
    recipe["curate"] += [{"decontaminate": {"benchmarks": ["openai/gsm8k"]}}]
    recipe["outputs"]["pretrain"]["tokenizer"] = {"words": ["Clem", "Creatrice"]}
    recipe["outputs"]["pretrain"]["mix"] = {"math": {"tokens": "5_000_000"}}
    assert [error.message for error in validator.iter_errors(recipe)] == []
    Recipe.model_validate(recipe)
