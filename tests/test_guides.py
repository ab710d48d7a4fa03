"""What the documents say agrees with the code; examples that need a build: test_docs.py."""

import ast
import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from benchmarks.on_paper import tables
from data import ROOT
from filters import load_filter
from flows.cli import app
from flows.inputs import read_draws
from flows.recipe import Recipe, make_knobs
from flows.schema import recipe_schema
from tests.guides import DOCUMENTS, GUIDES, blocks, commands, guide_blocks


def test_the_yaml_examples_are_parts_of_recipes() -> None:
    examples = [text for text in guide_blocks("yaml") if "apiVersion" not in text]
    assert len(examples) == 10
    schema = recipe_schema()
    schema.pop("required")
    validator = jsonschema.Draft7Validator(schema)
    for text in examples:
        part = yaml.safe_load(text)
        assert list(validator.iter_errors(json.loads(json.dumps(part)))) == []
        recipe = Recipe.model_validate({"name": "part", "outputs": {"a": {}}, **part})
        for step in recipe.curate:
            make_knobs(load_filter(step.filter), step.knobs, step.filter)
        for source in recipe.generate.values():
            assert read_draws(source.vary)


@pytest.mark.parametrize("number", [0, 1])
def test_the_slurm_scripts_are_bash(number: int) -> None:
    script = blocks("docs/operating.md", "bash")[number]
    checked = subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (130, True)])
def test_the_slurm_script_hands_on_the_signal_and_requeues(
    tmp_path: Path, code: int, again: bool
) -> None:
    """The script with a build that ends by itself (0, 1), or by the signal (130)."""
    build = tmp_path / ".venv" / "bin" / "shardmill"
    build.parent.mkdir(parents=True)
    # again and again: the first may come before the script knows its build's process
    waits = "trap 'exit 130' TERM\nwhile :; do kill -TERM $PPID; sleep 0.05; done"
    build.write_text(f"#!/bin/bash\n{waits if again else f'exit {code}'}\n")
    (tmp_path / "scontrol").write_text('#!/bin/bash\necho "$@" >requeued\n')
    for tool in (build, tmp_path / "scontrol"):
        tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", blocks("docs/operating.md", "bash")[0]],
        cwd=tmp_path,
        env={"PATH": path, "SCRATCH": str(tmp_path), "SLURM_JOB_ID": "7"},
        check=False,
        timeout=60,
    )
    assert result.returncode == code
    assert (tmp_path / "requeued").exists() == again


def test_the_kubernetes_manifests_fit_together() -> None:
    (text,) = [text for text in blocks("docs/operating.md", "yaml") if "apiVersion" in text]
    servers, service, job = yaml.safe_load_all(text)
    assert [one["kind"] for one in (servers, service, job)] == ["Deployment", "Service", "Job"]
    labels = servers["spec"]["template"]["metadata"]["labels"]
    assert servers["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    (build,) = job["spec"]["template"]["spec"]["containers"]
    (volume,) = job["spec"]["template"]["spec"]["volumes"]
    assert build["volumeMounts"][0]["name"] == volume["name"]
    assert (
        f"//{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/"
        in build["args"][-1]
    )
    app.parse_args([*build["command"][1:], *build["args"]], exit_on_error=False, print_error=False)


def test_the_tables_of_large_builds_are_those_of_the_measured_rates() -> None:
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    for table in tables():
        assert table in page


def test_the_deployments_that_are_named_exist() -> None:
    named = re.findall(r"'build/([\w-]+)'", (ROOT / "docs/operating.md").read_text())
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert named
    assert set(named) <= {one["name"] for one in deployed}


def said() -> list[str]:
    """Every text of the code, with a gap for what is put into it."""
    found = []
    for package in ("data", "inference", "prompts", "filters", "flows"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "\0"
                        for part in node.values
                    )
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def test_the_failures_are_what_the_code_says() -> None:
    text = (ROOT / "docs/failures.md").read_text()
    heads = [line.partition(" : ")[0] for line in text.splitlines() if line.startswith("- `")]
    messages = [message for head in heads for message in re.findall("`([^`]+)`", head)]
    assert len(messages) > 60
    code = "\n".join(said())
    for message in messages:
        for piece in re.split(r"\.\.\.|; ", message):
            assert piece.strip(" ()") in code, message


def test_the_commands_that_the_guides_name_exist() -> None:
    text = "".join((ROOT / guide).read_text() for guide in GUIDES)
    named = set(re.findall(r"`shardmill (\w+)", text))
    assert named
    assert named <= set(app)
    assert {name for name in app if not name.startswith("-")} <= named
    targets = set(re.findall(r"^make ([\w-]+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_tree_has_every_folder() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("## The tree")[2]
    for name in ("data", "inference", "prompts", "filters", "flows", "docs", "tests"):
        assert f"\n{name}/ " in tree


def test_the_examples_of_commands_are_understood() -> None:
    found = commands()
    assert len(found) > 12
    for words in found:
        app.parse_args(words, exit_on_error=False, print_error=False)
    assert "".join(guide_blocks("bash")).count("shardmill run") == 2
