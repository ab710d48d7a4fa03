"""The command line as a user types it: exit codes and one-line errors."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from data import ROOT
from flows.build import run_stages
from flows.plan import plan_build
from flows.progress import Progress
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def shardmill(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    plain = {k: v for k, v in os.environ.items() if k != "PREFECT_LOGGING_LEVEL"}
    return subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**plain, **environment},
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of the demo recipe, its text from the fake server."""
    out = tmp_path_factory.mktemp("built")
    with FakeServer() as server:
        changes = ["engine.model=fake", f"engine.endpoints=[{server.url}]"]
        plan = plan_build("demo", out, changes)
        run_stages(plan, Progress(log=lambda line: None))
        return out


def test_a_build_from_the_command_line_ends_with_funnel_and_folder(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = str(write_recipe(fake.url)), tmp_path / "out"
    first = shardmill("run", recipe, "--out", str(out), "--set", "part_rows=50")
    assert first.returncode == 0, first.stderr
    assert "50 wanted, 0 reused, 50 to ask" in first.stderr
    assert "tokens/s" in first.stderr
    assert "ETA" in first.stderr
    assert "Funnel" in first.stdout
    assert str(out / "shards" / "pretrain") in first.stdout
    assert "Traceback" not in first.stdout + first.stderr
    assert "| INFO" not in first.stdout + first.stderr
    assert "Error logging" not in first.stdout + first.stderr
    again = shardmill("run", recipe, "--out", str(out), "--set", "part_rows=50")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert fake.requests == 50


def test_a_failing_build_is_one_line_and_exit_1(write_recipe: Write, tmp_path: Path) -> None:
    result = shardmill("run", str(write_recipe()), "--out", str(tmp_path / "out"))
    assert result.returncode == 1
    assert "error: http://127.0.0.1:9/v1: does not answer" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "demmo"], "error: no recipe 'demmo'; did you mean 'demo'"),
        (["run", "demo", "--sacle", "2"], "--sacle"),
        (["run", "demo", "--set", "engine.modl=x"], "unknown key 'modl'"),
        (["run", "demo", "--set", "outputs.pretrain.tokenizer=gpt-9"], "neither packaged"),
        (["run", "demo", "--scale", "0"], "not above 0"),
        (["list", "kindz"], "did you mean 'kinds'?"),
        (["inspect", "/nowhere"], "/nowhere: holds no finished shards"),
        (["export", "/nowhere", "--to", "nanogtp"], "did you mean 'nanogpt'?"),
        (["export", "/nowhere", "--to", "hf"], "/nowhere: holds no finished shards"),
        (["verify", "/nowhere"], "/nowhere: holds no manifest"),
        (["fly"], "fly"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(words: list[str], says: str) -> None:
    result = shardmill(*words)
    assert result.returncode == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_output_that_cannot_be_written_is_one_line(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = shardmill("run", str(write_recipe(fake.url)), "--out", str(tmp_path / "file" / "x"))
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert fake.requests == 0


def test_a_missing_engine_is_one_line(tmp_path: Path) -> None:
    result = shardmill(
        "run", "demo", "--out", str(tmp_path / "out"), SHARDMILL_VLLM_PYTHON="/nowhere/python"
    )
    assert result.returncode == 1
    assert "/nowhere/python: the engine's environment is missing; run `make engine`" in (
        result.stderr
    )


def test_inspect_shows_schema_counts_and_document_borders(built: Path) -> None:
    shown = shardmill("inspect", str(built / "shards"), "--rows", "3")
    assert shown.returncode == 0, shown.stderr
    manifest = json.loads((built / "shards" / "pretrain" / "manifest.json").read_bytes())
    train = manifest["splits"]["train"]
    assert "input_ids: fixed_size_list<item: uint16>[512]" in shown.stdout
    assert f"train: {train['rows']} rows, {train['tokens']:,} tokens" in shown.stdout
    rows = pl.scan_ipc(built / "shards" / "pretrain" / "train-*.arrow").collect()
    first = rows["doc_ids"][0][0]
    assert f"── {first:016x} " in shown.stdout
    assert "<|endoftext|>" in shown.stdout


def test_verify_passes_a_build_and_names_what_is_damaged(built: Path) -> None:
    assert shardmill("verify", str(built)).returncode == 0
    shard = built / "shards" / "pretrain" / "train-00000-of-00001.arrow"
    content = shard.read_bytes()
    try:
        shard.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        result = shardmill("verify", str(built))
        assert result.returncode == 1
        assert f"wrong: {shard} differs from its checksum" in result.stdout
    finally:
        shard.write_bytes(content)


def test_export_writes_once_and_names_where(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "to"
    words = ("export", str(built / "shards" / "pretrain"), "--to", "nanogpt", "--out", str(out))
    first, again = shardmill(*words), shardmill(*words)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert first.stdout == f"exported: {out}\n"
    assert again.stdout == f"nothing to do: {out}\n"
    (out / "manifest.json").unlink()
    refused = shardmill(*words)
    assert refused.returncode == 1
    assert f"error: {out}: exists and is no finished export" in refused.stderr


@pytest.mark.parametrize(
    "what", ["recipes", "kinds", "filters", "tokenizers", "templates", "exporters"]
)
def test_list_gives_a_line_each(what: str) -> None:
    shown = shardmill("list", what)
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines
    assert all(len(line.split(None, 1)) == 2 for line in lines)


def test_the_card_loads_in_datasets_with_its_splits(built: Path, tmp_path: Path) -> None:
    script = (
        "import sys, datasets\n"
        "found = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])\n"
        "print({name: len(split) for name, split in found.items()})\n"
    )
    shards = built / "shards" / "pretrain"
    shown = subprocess.run(
        [sys.executable, "-c", script, str(shards), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        check=False,
    )
    manifest = json.loads((shards / "manifest.json").read_bytes())
    counts = {name: split["rows"] for name, split in manifest["splits"].items()}
    assert shown.stdout.strip() == str(counts), shown.stderr
