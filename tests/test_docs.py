"""Every example in the documents runs."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from data import ROOT, exporters
from data.export import export_shards
from flows.build import run_stages
from flows.cli import app
from flows.inputs import read_draws
from flows.loading import load_recipe
from flows.page import write_page
from flows.plan import plan_build
from flows.progress import Progress
from tests.fake_server import FakeServer

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted(ROOT.glob("*.md"))


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [body for kind, body in BLOCK.findall(text) if kind == language]


def run_python(script: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(cwd)},
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which runs/demo is a finished build."""
    folder = tmp_path_factory.mktemp("demo")
    with FakeServer() as server:
        changes = ["engine.model=fake", f"engine.endpoints=[{server.url}]"]
        plan = plan_build("demo", folder / "runs" / "demo", changes)
        run_stages(plan, Progress(log=lambda line: None))
        write_page(plan.out)
        return folder


def test_the_readmes_polars_snippet_runs(demo: Path) -> None:
    snippet = blocks("README.md", "python")[0]
    result = run_python(snippet, demo)
    assert result.returncode == 0, result.stderr
    assert "input_ids" in result.stdout


def test_the_readmes_seeds_are_a_recipe(write_recipe: Callable[..., Path]) -> None:
    (text,) = [text for text in blocks("README.md", "yaml") if "generate:" in text]
    given = yaml.safe_load(text)["generate"]
    recipe = load_recipe(str(write_recipe(change=lambda r: r.update(generate=given))))
    (source,) = recipe.generate.values()
    assert source.seeds.hub == "org/set"
    assert len(read_draws(source.vary)) == 2


def test_the_readmes_loader_snippet_runs(demo: Path) -> None:
    snippet = blocks("README.md", "python")[1]
    result = run_python(snippet + "print(state['epoch'], sorted(batch))", demo)
    assert result.stdout == "2 ['input_ids', 'labels', 'position_ids']\n", result.stderr


def test_the_readmes_exports_are_made_where_it_says(demo: Path) -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"`shardmill (export [^`]+? --to ([a-z]+))`", text)
    assert {to for _, to in commands} == {"hf", "nanogpt"}
    for command, to in commands:
        words = [str(demo / word) if word.startswith("runs/") else word for word in command.split()]
        app(words, exit_on_error=False)
        assert (demo / "runs" / "demo" / "exports" / "pretrain" / to / "manifest.json").is_file()


def test_the_readmes_training_commands_are_understood() -> None:
    commands = training_commands()
    assert len(commands) == 3
    for words in commands:
        app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.train
def test_the_readmes_first_training_command_runs(demo: Path) -> None:
    words = training_commands()[0]
    words[words.index("runs/demo")] = str(demo / "runs" / "demo")
    words[words.index("--steps") + 1] = "2"
    app([*words, "--batch-rows", "1", "--prompt", "The"], exit_on_error=False)
    folder = demo / "runs" / "demo" / "train" / "pretrain-gpt2"
    for name in ("loss.csv", "loss.png", "samples.md", "checkpoints/checkpoint-2/config.json"):
        assert (folder / name).is_file()


def training_commands() -> list[list[str]]:
    (block,) = [text for text in blocks("README.md", "") if "shardmill train" in text]
    return [shlex.split(line)[1:] for line in block.splitlines()]


def test_the_contributing_example_is_an_exporter(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lengths.py").write_text(blocks("CONTRIBUTING.md", "python")[2])
    monkeypatch.setattr(exporters, "__path__", [*exporters.__path__, str(tmp_path)])
    shards = demo / "runs" / "demo" / "shards" / "pretrain"
    assert export_shards(shards, "lengths", tmp_path / "to")
    lengths = [int(n) for n in (tmp_path / "to" / "train.txt").read_text().split()]
    manifest = json.loads((shards / "manifest.json").read_bytes())
    assert sum(lengths) == manifest["splits"]["train"]["tokens"]


def test_the_cards_polars_snippet_runs(demo: Path) -> None:
    shards = demo / "runs" / "demo" / "shards" / "pretrain"
    card = (shards / "README.md").read_text()
    (snippet,) = [body for kind, body in BLOCK.findall(card) if kind == "python"]
    result = run_python(snippet + "print(len(rows))", shards)
    assert int(result.stdout) > 0, result.stderr


def test_the_files_that_the_readme_names_come_out(demo: Path) -> None:
    named = re.findall(r"^(runs/demo/\S+)", blocks("README.md", "")[2], re.MULTILINE)
    assert len(named) == 10
    for name in named:
        assert (demo / name).exists(), name


@pytest.mark.parametrize("number", [0, 1])
def test_the_contributing_examples_are_a_kind_and_a_filter(tmp_path: Path, number: int) -> None:
    """Each example is put beside the shipped files and passes the tests of EXAMPLES."""
    package, name = [("prompts", "riddle"), ("filters", "shouting")][number]
    for folder in ("data", "prompts", "filters", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / package).unlink()
    (tmp_path / package).mkdir()
    for path in (ROOT / package).glob("*.py"):
        (tmp_path / package / path.name).symlink_to(path)
    (tmp_path / package / f"{name}.py").write_text(blocks("CONTRIBUTING.md", "python")[number])
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "-k", name, "--noconftest", "tests/test_examples.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout


def test_the_commands_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    commands = set(re.findall(r"`shardmill (\w+)", text))
    assert commands
    assert commands <= set(app)
    targets = set(re.findall(r"^make (\w+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_tree_of_the_readme_has_every_folder() -> None:
    tree = (ROOT / "README.md").read_text().partition("## The tree")[2]
    for name in ("data", "inference", "prompts", "filters", "flows", "tests"):
        assert f"\n{name}/ " in tree
