"""prefect.yaml against the recipes and flows that it names."""

import importlib
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from data import ROOT
from data.errors import RecipeError, ShardmillError
from flows.cli import app
from flows.loading import list_recipes

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))[
    "deployments"
]


def flow_of(deployment: dict[str, Any]) -> "Flow[..., Any]":
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_every_shipped_recipe_has_a_deployment_of_its_name() -> None:
    builds = {d["name"]: d["parameters"] for d in DEPLOYMENTS if flow_of(d).name == "build"}
    assert all(parameters == {"recipe": name} for name, parameters in builds.items())
    assert set(list_recipes()) == set(builds)


def test_each_stage_has_one_too() -> None:
    stages = {flow_of(d).name for d in DEPLOYMENTS if d["name"] == "stage"}
    assert stages == {"generate", "curate", "pack"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["description"][:20])
def test_a_deployment_is_whole(deployment: dict[str, Any]) -> None:
    assert deployment["description"].endswith(".")
    assert deployment["work_pool"]["name"] in ("cpu", "gpu")
    assert set(deployment["parameters"]) <= set(parameter_schema(flow_of(deployment)).properties)
    if flow_of(deployment).name in ("build", "generate"):
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    for schedule in deployment.get("schedules", ()):
        assert schedule["active"] is False


def test_one_deployment_has_a_nightly_schedule() -> None:
    crons = [one["cron"] for d in DEPLOYMENTS for one in d.get("schedules", ())]
    assert crons == ["0 2 * * *"]


def test_the_ui_s_form_says_what_each_parameter_is() -> None:
    """The worker's schema is made of the docstring; a form without it is five bare fields."""
    schemas = [parameter_schema(flow_of(deployment)) for deployment in DEPLOYMENTS]
    for schema in schemas:
        shared, placed = list(schema.properties)[:6], list(schema.properties)[6:]
        assert shared == ["recipe", "out", "overrides", "scale", "offline", "share"]
        assert placed in ([], ["runner", "ray_address"])  # models are asked from one place
        for field in schema.properties.values():
            assert len(field["description"]) > 30
        assert schema.properties["recipe"]["default"] == "demo"
        assert schema.properties["scale"]["type"] == "number"
    assert "engine.sampling.temperature=0.6" in str(schemas[0].properties["overrides"])


def run(*words: str) -> None:
    app(["run", *words], exit_on_error=False, print_error=False)


def test_following_needs_a_server_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="--deployment needs a Prefect server"):
        run("--deployment", "build/demo")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    with pytest.raises(ShardmillError, match="Prefect's server does not answer"):
        run("--deployment", "build/demo")


def test_a_recipe_or_a_deployment_has_to_be_named() -> None:
    with pytest.raises(RecipeError, match="run which recipe\\?; `shardmill list recipes`"):
        run("--scale", "0.5")
