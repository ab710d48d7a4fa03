"""Trainers and readers of other projects take our shards and exports.

They live in .venv-train (`make train-env`); tests/consumers.py runs there, once for all tests.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models

from data import ROOT
from data.export import export_shards
from flows.build import run_stages
from flows.plan import plan_build
from flows.progress import Progress
from tests.fake_server import FakeServer

pytestmark = pytest.mark.train
PYTHON = ROOT / ".venv-train" / "bin" / "python"


def byte_tokenizer(folder: Path) -> Path:
    """A tokenizer.json whose ids are bytes: a vocabulary small enough to train on in seconds."""
    bytes_ = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(models.BPE(vocab={b: i for i, b in enumerate(bytes_)}, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the consumers saw of one build."""
    folder = tmp_path_factory.mktemp("consumers")
    with FakeServer() as server:
        changes = [
            "engine.model=fake",
            f"engine.endpoints=[{server.url}]",
            "curate=[]",
            "outputs.pretrain.sequence_length=256",
            f"outputs.pretrain.tokenizer={byte_tokenizer(folder)}",
        ]
        plan = plan_build("demo", folder / "out", changes)
        run_stages(plan, Progress(log=lambda line: None))
    shards = folder / "out" / "shards" / "pretrain"
    for to in ("nanogpt", "datatrove", "mds", "hf"):
        export_shards(shards, to, folder / "exports" / to)
    result = folder / "found.json"
    command = [PYTHON, "-m", "tests.consumers", shards, folder / "exports", result]
    run = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    seen: dict[str, Any] = json.loads(result.read_text())
    return seen


def seen(found: dict[str, Any], check: str) -> Any:
    value = found[check]
    assert not (isinstance(value, dict) and "error" in value), value["error"]
    return value


def test_packed_logits_equal_those_of_each_document_alone(found: dict[str, Any]) -> None:
    differences = seen(found, "logits")
    kept = {name: value for name, value in differences.items() if "leaks" not in name}
    assert len(kept) == 8
    assert max(kept.values()) < 1e-5, kept
    # the same measure sees a mask of ones, which joins the documents of a row
    leaks = [value for name, value in differences.items() if "leaks" in name]
    assert len(leaks) == 4
    assert min(leaks) > 1e-3, leaks


@pytest.mark.parametrize("check", ["loop", "trainer", "trainer_hf", "sft"])
def test_the_loss_falls_under(found: dict[str, Any], check: str) -> None:
    value = seen(found, check)
    losses = value["losses"] if check == "sft" else value
    assert len(losses) == 24
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4]), losses


def test_trl_makes_of_our_rows_what_our_collator_makes(found: dict[str, Any]) -> None:
    assert seen(found, "sft")["same"] == {"input_ids": True, "position_ids": True, "labels": True}


def test_transformers_default_of_dropping_columns_is_explained(found: dict[str, Any]) -> None:
    assert "remove_unused_columns=False" in seen(found, "unused_columns")


def test_datatroves_dataset_reads_its_export(found: dict[str, Any]) -> None:
    value = seen(found, "datatrove")
    assert value["windows"] > 20
    assert value["ids"]
    assert value["positions"]


def test_mosaicml_streaming_reads_its_export(found: dict[str, Any]) -> None:
    value = seen(found, "mds")
    assert value.pop("rows") > 20
    assert value == {"tokens": True, "n_tokens": True, "seq_lengths": True, "dtype": "uint16"}
