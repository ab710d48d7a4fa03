"""Recipes: what is refused, and that each error names what, where and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.errors import RecipeError
from flows.loading import list_recipes, load_recipe

Write = Callable[..., Path]


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_loads(name: str) -> None:
    assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["generate"]["books"].update(sampels=3), "did you mean 'samples'?"),
        (lambda r: r.update(outptus={}), "did you mean 'outputs'?"),
        (lambda r: r["engine"]["sampling"].update(temprature=1), "did you mean 'temperature'?"),
        (lambda r: r["generate"]["books"].update(kind="textbok"), "did you mean 'textbook'?"),
        (lambda r: r.update(curate=[{"lenght": {}}]), "did you mean 'length'?"),
        (lambda r: r.update(curate=[{"length": {"min_token": 3}}]), "did you mean 'min_tokens'?"),
        (
            lambda r: r["generate"]["books"].update(vary={"audience": ["colege"]}),
            "Input should be 'young_children'",
        ),
        (lambda r: r["generate"]["books"].update(vary={"mood": ["sad"]}), "has no knob 'mood'"),
        (lambda r: r["generate"]["books"].update(samples=0), "greater than or equal to 1"),
        (
            lambda r: r["outputs"]["pretrain"].update(render={"template": "nanofi"}),
            "did you mean 'nanophi'?",
        ),
        (lambda r: r["outputs"]["pretrain"].update(mix={"boks": {}}), "did you mean 'books'?"),
        (lambda r: r.update(outputs={"../evil": {}}), "must match"),
        (lambda r: r.pop("engine"), "engine is missing"),
        (
            lambda r: r["generate"]["books"].update(seeds={"file": "nowhere.jsonl"}),
            "nowhere.jsonl does not exist",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(
    write_recipe: Write, change: Callable[[dict[str, Any]], Any], says: str
) -> None:
    path = write_recipe(change=change)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    line = str(caught.value)
    assert says in line
    assert str(path) in line
    assert "\n" not in line


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path, write_recipe: Write) -> None:
    path = write_recipe(change=lambda r: r["generate"]["sums"].update(sampels=3))
    number = 1 + path.read_text().splitlines().index("    sampels: 3")
    with pytest.raises(RecipeError, match=f"small.yaml:{number}: unknown key 'sampels'"):
        load_recipe(str(path))


def test_a_wrong_knob_of_a_filter_is_named_with_its_line(write_recipe: Write) -> None:
    path = write_recipe(change=lambda r: r["curate"].append({"length": {"max_tokens": -1}}))
    line = next(
        n for n, text in enumerate(path.read_text().splitlines(), 1) if "max_tokens: -1" in text
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert caught.value.where in {f"{path}:{line}", f"{path}:{line - 1}"}


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: x\nengine: {model: [}\n")
    with pytest.raises(RecipeError, match=r"broken.yaml:2: cannot be read as YAML"):
        load_recipe(str(path))


def test_a_recipe_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="no recipe 'demmo'; did you mean 'demo'"):
        load_recipe("demmo")


def test_set_changes_any_key_even_inside_lists(write_recipe: Write) -> None:
    recipe = load_recipe(
        str(write_recipe()),
        ["engine.sampling.temperature=0.1", "curate.0.length.min_tokens=9", "seed=7"],
    )
    assert recipe.engine.sampling.temperature == 0.1
    assert recipe.curate[0].knobs == {"min_tokens": 9}
    assert recipe.seed == 7


def test_a_wrong_set_is_named_as_the_place(write_recipe: Write) -> None:
    with pytest.raises(RecipeError, match=r"--set engine\.modl=x: unknown key 'modl'"):
        load_recipe(str(write_recipe()), ["engine.modl=x"])
    with pytest.raises(RecipeError, match="not of the form"):
        load_recipe(str(write_recipe()), ["engine.model"])


def test_scale_shrinks_every_count_to_one_at_least(write_recipe: Write) -> None:
    recipe = load_recipe(str(write_recipe()), scale=0.001)
    assert [source.samples for source in recipe.generate.values()] == [1, 1]
    with pytest.raises(RecipeError, match="not above 0"):
        load_recipe(str(write_recipe()), scale=0)


def test_only_and_except_are_split_from_a_filters_knobs(write_recipe: Write) -> None:
    path = write_recipe(
        change=lambda r: r.update(curate=[{"length": {"min_tokens": 3, "except": ["Math"]}}])
    )
    step = load_recipe(str(path)).curate[0]
    assert (step.filter, step.knobs, step.except_) == ("length", {"min_tokens": 3}, ("Math",))
