"""`shardmill plan` and `doctor`: what would run, why, at what cost, and what is missing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.errors import ShardmillError
from flows.doctor import doctor
from flows.planning import plan, screen
from tests.builds import Notes, build, digests
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def planned(
    capsys: pytest.CaptureFixture[str], recipe: Path, out: Path, *changes: str, **options: Any
) -> dict[str, Any]:
    capsys.readouterr()
    plan(str(recipe), out=out, set_=changes, json_=True, **options)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def states(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {stage["name"]: (stage["state"], stage["why"]) for stage in found["stages"]}


def test_a_first_build_is_all_new_and_its_cost_is_bounded_by_max_tokens(
    write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = planned(capsys, write_recipe(), tmp_path / "out")
    assert {state for state, _ in states(found).values()} == {"new"}
    books, sums = found["sources"]
    assert (books["samples"], books["to_ask"], books["requests"]) == (30, 30, 30)
    assert (books["low"], books["high"], books["basis"]) == (0, 30 * 64, "max_tokens")
    assert sums["to_ask"] == 20
    assert found["total"]["seconds"] is None
    assert not (tmp_path / "out").exists()


def test_after_a_build_everything_is_reused_until_a_setting_changes(
    write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], fake: FakeServer
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    build(recipe, out)
    before = digests(out)
    found = planned(capsys, recipe, out)
    assert {state for state, _ in states(found).values()} == {"done"}
    assert found["total"]["requests"] == 0

    found = states(planned(capsys, recipe, out, "curate.0.length.min_tokens=9"))
    assert found["verdicts.1.length"] == ("new", "min_tokens 5 > 9")
    assert found["verdicts.2.repetition"] == ("new", "verdicts.1.length is made again")
    assert found["samples.books"] == ("done", "")

    found = states(planned(capsys, recipe, out, "outputs.pretrain.sequence_length=64"))
    assert found["shards.pretrain"] == ("new", "sequence_length 128 > 64")

    more = planned(capsys, recipe, out, "generate.books.samples=50")
    assert states(more)["prompts.books"] == ("new", "samples 30 > 50")
    books, sums = more["sources"]
    assert (books["to_ask"], sums["to_ask"]) == (20, 0)
    assert books["basis"] == "30 rows here"
    assert books["low"] <= books["completion_tokens"] <= books["high"]
    assert more["total"]["rate_basis"] == "measured here"
    assert digests(out) == before

    other = planned(capsys, recipe, out, "generate.books.knobs.words=300")
    assert other["sources"][0]["to_ask"] == 30


def test_the_estimate_of_a_build_stands_beside_what_came(
    write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], fake: FakeServer
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    build(recipe, out)
    build(recipe, out, "generate.books.samples=200")
    truth = planned(capsys, recipe, out, "generate.books.samples=200")["truth"]
    assert truth["books"]["requests"] == [170, 170]
    low, high = truth["books"]["range"]
    assert low <= truth["books"]["completion_tokens"][1] <= high
    with screen.capture() as capture:
        plan(str(recipe), out=out, set_=("generate.books.samples=200",))
    assert "estimated and true" in capture.get()
    assert "nothing to generate" in capture.get()


def test_a_pilot_asks_few_and_the_build_asks_the_rest(
    write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], fake: FakeServer
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    found = planned(capsys, recipe, out, pilot=10)
    assert fake.requests == 20
    assert [one["to_ask"] for one in found["sources"]] == [20, 10]
    assert [one["basis"] for one in found["sources"]] == ["10 rows here"] * 2
    assert found["total"]["rate"] > 0
    assert not (out / "shards").exists()
    notes = Notes()
    build(recipe, out, notes=notes)
    assert "completions: 50 wanted, 20 reused, 30 to ask" in notes.lines
    assert fake.requests == 50


def test_the_plan_of_cosmo_1b_agrees_with_its_card(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plan("cosmo-1b", json_=True)
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["requests"] == pytest.approx(31.1e6, rel=0.1)
    assert found["total"]["completion_tokens"] == pytest.approx(25e9, rel=0.1)
    assert found["total"]["gpu_hours"] == pytest.approx(10_000, rel=0.1)
    assert found["outputs"]["pretrain"] == pytest.approx(30e9, rel=0.1)
    assert {"bigcode/the-stack", "openai/gsm8k"} <= set(found["datasets"])


def test_doctor_names_what_is_missing_and_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARDMILL_VLLM_PYTHON", str(tmp_path / "python"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ShardmillError, match=r"checks fail: Prefect, engine"):
        doctor(tmp_path, json_=True)
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["engine"]["fix"] == "run `make engine`"
    assert "does not answer" in checks["Prefect"]["found"]
    assert checks["hub"]["state"] == "note"
    assert checks["recipe demo"]["state"] in ("ok", "note")
    assert checks["tokenizer gpt2"]["state"] == "ok"
