"""What `plan` says of disk, held against what a build leaves."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from data.sources import find_files
from flows.disk import Disk, disk, shown
from flows.estimates import estimate, output_tokens
from flows.plan import Plan, plan_build
from tests.builds import build


def planned(plan: Plan) -> Disk:
    estimates = estimate(plan)
    return disk(plan, estimates, output_tokens(plan, estimates))


def recipe(tmp_path: Path, corpus: dict[str, object]) -> str:
    content = {
        "name": "room",
        "corpora": {"read": {"as": "text", "licence": "cc0-1.0", **corpus}},
        "curate": [{"near_duplicate": {}}],
        "outputs": {
            "pretrain": {
                "tokenizer": "gpt2",
                "sequence_length": 512,
                "render": {"template": "plain"},
            }
        },
    }
    path = tmp_path / "room.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_the_estimate_is_near_what_a_build_of_files_leaves(tmp_path: Path, suffix: str) -> None:
    draw = np.random.default_rng(0)
    text = " ".join(file.read_text() for file in find_files("data/seeds")[1])
    words = np.array(text.split()[:20_000], object)
    picked = [" ".join(words[draw.integers(0, len(words), 500)]) for _ in range(2000)]
    path = tmp_path / f"texts.{suffix}"
    table = pl.DataFrame({"text": picked})
    table.write_parquet(path) if suffix == "parquet" else table.write_ndjson(path)
    name = recipe(tmp_path, {"file": str(path)})
    out = tmp_path / "out"
    before = planned(plan_build(name, out))
    assert before.unknown == ()
    assert before.scratch > 0
    plan = build(name, out)
    for stage, said in (("samples", plan.read[0].samples), ("shards", plan.targets[0].shards)):
        left = sum(file.stat().st_size for file in said.folder.iterdir())
        assert 0.5 * left < before.stays[stage] < 2 * left
    after = planned(plan)
    assert after.most == 0


def test_a_set_of_unknown_size_is_named(tmp_path: Path) -> None:
    name = recipe(tmp_path, {"hub": "some/set"})
    room = planned(plan_build(name, tmp_path / "out", check=False))
    assert room.unknown == ("read",)
    assert room.line().endswith("without read, of unknown size")


def test_what_a_recipe_expects_is_counted(tmp_path: Path) -> None:
    corpus = {"hub": "some/set", "expect": {"rows": 1000, "tokens": 10**9}, "limit": 500}
    room = planned(plan_build(recipe(tmp_path, corpus), tmp_path / "out", check=False))
    assert room.stays["samples"] == pytest.approx(0.5e9 * 2.3)
    assert room.stays["shards"] == pytest.approx(0.5e9 * 2.5)
    assert room.most == sum(room.stays.values()) + room.scratch
    assert room.line().startswith("disk: about 3.5 GB (samples 1.1 GB, tokens 1.1 GB")


@pytest.mark.parametrize(
    ("size", "words"), [(900, "1 kB"), (2.2e6, "2.2 MB"), (5.54e10, "55 GB"), (1.24e9, "1.2 GB")]
)
def test_sizes_read_well(size: float, words: str) -> None:
    assert shown(size) == words
