"""Every example in the documents runs, all on one build."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from data import ROOT, exporters
from data.export import export_shards
from flows.build import run_stages
from flows.cli import app
from flows.page import write_page
from flows.plan import plan_build
from flows.progress import Progress
from tests.fake_server import FakeServer
from tests.guides import BLOCK, blocks, commands, guide_blocks


def run_python(
    script: str, cwd: Path, python: Path | str = sys.executable
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(python), "-c", script],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(cwd), str(ROOT))),
            "HF_HOME": str(cwd / "hf"),
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
        },
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


@pytest.fixture(scope="module")
def exported(demo: Path) -> Path:
    """The demo with the exports that the examples read, made where the commands put them."""
    for to in ("hf", "nanogpt"):
        app(["export", str(demo / "runs" / "demo"), "--to", to], exit_on_error=False)
    return demo


ONE_BY_ONE = """
import json, sys
for number, block in enumerate(json.loads(sys.argv[1])):
    print("ran", number)
    exec(compile(block, f"example {number}", "exec"), {})
"""


def test_the_python_examples_run(exported: Path) -> None:
    """One after the other in one process, each with names of its own."""
    examples = guide_blocks("python")
    script = ONE_BY_ONE.replace("sys.argv[1]", repr(json.dumps(examples)))
    result = run_python(script, exported)
    assert result.returncode == 0, result.stderr
    assert len(examples) == len(re.findall("^ran ", result.stdout, re.MULTILINE)) == 5
    assert "input_ids" in result.stdout


@pytest.mark.train
def test_the_training_examples_run(exported: Path) -> None:
    examples = guide_blocks("python train")
    script = ONE_BY_ONE.replace("sys.argv[1]", repr(json.dumps(examples)))
    result = run_python(script, exported, ROOT / ".venv-train" / "bin" / "python")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("train_loss") == len(examples) == 2


def test_a_failing_example_is_seen(demo: Path) -> None:
    script = ONE_BY_ONE.replace("sys.argv[1]", repr(json.dumps(["a = 1", "print(a)"])))
    result = run_python(script, demo)
    assert result.returncode == 1
    assert "example 1" in result.stderr


ASK_NOTHING = {"inspect", "explain", "report", "gc", "verify", "list", "plan", "preview", "export"}


def test_the_examples_of_commands_that_ask_nothing_run(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported)
    ran = [words[0] for words in commands() if words[0] in ASK_NOTHING]
    assert set(ran) >= {"inspect", "verify", "list", "plan", "preview", "export"}
    for words in commands():
        if words[0] in ASK_NOTHING:
            app(words, exit_on_error=False)
    for to in ("hf", "nanogpt"):
        assert (Path("runs/demo/exports/pretrain") / to / "manifest.json").is_file()


@pytest.mark.train
def test_the_first_training_command_runs(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    words = next(words for words in commands() if words[0] == "train")
    little = ["--steps", "2", "--batch-rows", "1", "--prompt", "The"]
    app([*words[: words.index("--steps")], *little], exit_on_error=False)
    folder = demo / "runs" / "demo" / "train" / "pretrain-gpt2"
    for name in ("loss.csv", "loss.png", "samples.md", "checkpoints/checkpoint-2/config.json"):
        assert (folder / name).is_file()


def test_the_funnel_picture_is_drawn_from_a_build(demo: Path, tmp_path: Path) -> None:
    script, out = str(ROOT / "docs" / "funnel.py"), str(demo / "runs" / "demo")
    subprocess.run([sys.executable, script, out, str(tmp_path / "funnel.svg")], check=True)
    drawn = (tmp_path / "funnel.svg").read_text()
    for text in (drawn, (ROOT / "docs" / "funnel.svg").read_text()):
        assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    assert "16 kept" in drawn


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


def test_the_files_that_a_build_leaves_are_those_named(demo: Path) -> None:
    named = re.findall(r"^(runs/demo/\S+)", blocks("docs/concepts.md", "")[1], re.MULTILINE)
    assert len(named) == 10
    app(
        ["report", str(demo / "runs" / "demo")], exit_on_error=False
    )  # `run` writes it, stages do not
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
