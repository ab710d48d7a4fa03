"""What `inspect` shows of shards, stages, parts and builds, finished or under way."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from data.errors import RecipeError, ShardmillError
from data.parts import MANIFEST
from data.schema import show_id
from data.tokenization import load_tokenizer
from flows.cli import app
from flows.inspection import Ask, show_tokens
from tests.fates import build_fates

Look = Callable[..., Any]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fates(tmp_path_factory.mktemp("fates")).out


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]) -> Look:
    """What is found, from the JSON that is printed."""

    def run(*words: object) -> list[dict[str, Any]]:
        app(["inspect", *map(str, words), "--json"], exit_on_error=False)
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["found"]
        return found

    return run


def samples(out: Path) -> pl.DataFrame:
    files = [pl.read_parquet(f, glob=False) for f in sorted(out.glob("stages/samples.*/part-*"))]
    return pl.concat(files)


def test_a_condition_keeps_what_polars_keeps(out: Path, look: Look) -> None:
    (found,) = look(out, "--where", "tokens > 60 and tag = 'Textbook'", "--rows", "99")
    expected = samples(out).filter((pl.col("tokens") > 60) & (pl.col("tag") == "Textbook"))
    assert {row["id"] for row in found["shown"]} == set(map(show_id, expected["id"]))
    assert found["rows"] == len(expected) > 0
    assert look(out, "--filter", "tokens > 60 and tag = 'Textbook'", "--rows", "99") == [found]
    (rows,) = look(out / "shards" / "chat", "--where", "n_tokens > 150", "--rows", "99")
    assert rows["matching"] == len(rows["shown"])
    assert all(row["n_tokens"] > 150 for row in rows["shown"])


def test_a_sample_is_the_same_at_each_look_and_another_by_another_seed(
    out: Path, look: Look
) -> None:
    def ids(*words: str) -> list[str]:
        (found,) = look(out, "--sample", "4", *words)
        return [row["id"] for row in found["shown"]]

    assert ids() == ids()
    assert len(set(ids())) == 4
    assert any(ids("--seed", str(seed)) != ids() for seed in (1, 2))


def test_a_build_that_stored_no_recipe_is_said_to_be_older(
    out: Path, look: Look, tmp_path: Path
) -> None:
    copy = tmp_path / "older"
    shutil.copytree(out, copy, ignore=shutil.ignore_patterns("recipes"))
    with pytest.raises(RecipeError, match=r"older: is of an older build.*run its recipe again"):
        look(copy, "--rejected")
    assert {found["what"] for found in look(copy)} == {"shards"}


def test_rejected_samples_are_those_with_a_verdict(out: Path, look: Look) -> None:
    files = [*out.glob("stages/verdicts.*/part-*"), *out.glob("stages/samples.*/verdicts-*")]
    fell = pl.concat([pl.read_parquet(f, glob=False) for f in files])
    (found,) = look(out, "--rejected", "--rows", "99")
    assert {(r["id"], r["reason"]) for r in found["shown"]} == {
        (show_id(id), reason) for id, reason in fell.select("id", "reason").iter_rows()
    }
    (short,) = look(out, "--rejected", "too_short", "--rows", "99")
    assert {row["reason"] for row in short["shown"]} == {"too_short"}
    (stage,) = out.glob("stages/verdicts.2.length-*")
    (of_stage,) = look(stage, "--rows", "99")
    assert {r["id"] for r in of_stage["shown"]} == {r["id"] for r in short["shown"]}
    assert all(row["text"] for row in of_stage["shown"])
    with pytest.raises(RecipeError, match="no sample fell for 'x'; there are empty_reply"):
        look(out, "--rejected", "x")
    with pytest.raises(RecipeError, match="has no verdicts"):
        look(out / "shards", "--rejected")


def test_a_stage_or_a_part_shows_its_own_rows(out: Path, look: Look) -> None:
    for folder in sorted((out / "stages").iterdir()):
        (found,) = look(folder, "--rows", "1")
        rows = sum(
            len((pl.read_parquet if f.suffix == ".parquet" else pl.read_ipc)(f))
            for f in folder.glob("part-*")
        )
        assert (found["rows"], found["state"]) == (rows, "done")
    (part,) = out.glob("stages/samples.books-*/part-00001.parquet")
    (found,) = look(part)
    assert found["rows"] == 5


def test_what_is_under_way_is_shown_and_said_to_be(
    out: Path, tmp_path: Path, look: Look, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "shards")
    (stage,) = copy.glob("stages/verdicts.3*")
    (stage / MANIFEST).unlink()
    (stage / "part-00001.parquet").unlink()
    (build,) = look(copy)
    states = {entry["stage"]: entry["state"] for entry in build["stages"]}
    assert states.pop(stage.name) == "in progress, no manifest yet"
    assert set(states.values()) == {"done"}
    assert build["state"] == "in progress, 1 stages are not done"
    (found,) = look(stage, "--rows", "9")
    assert found["state"] == "in progress, no manifest yet"
    app(["inspect", str(copy), "--sample", "1"], exit_on_error=False)
    assert "(in progress, 1 stages are not done)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--where", "tokns > 1"], "--where fails: .*tokns.*; the columns are id, source"),
        (["--where", ">>"], "--where is no condition"),
        (["--rows", "-1"], "--rows and --sample must not be negative"),
    ],
)
def test_a_wrong_question_is_one_line(out: Path, words: list[str], says: str) -> None:
    with pytest.raises(ShardmillError, match=says) as caught:
        app(["inspect", str(out), *words], exit_on_error=False)
    assert "\n" not in str(caught.value)


def test_trained_tokens_are_coloured_on_a_terminal_alone() -> None:
    tokenizer = load_tokenizer("gpt2")
    (ids, _) = tokenizer.encode(["A question\x1b[2J, then its answer."])
    ask = Ask(whole=True)
    for terminal in (True, False):
        file = io.StringIO()
        screen = Console(
            file=file,
            force_terminal=terminal,
            width=60,
            color_system="standard" if terminal else None,
        )
        show_tokens("doc", ids.tolist(), [[8, len(ids)]], tokenizer, ask, screen)
        shown = file.getvalue()
        assert "\\x1b[2J" in shown
        assert ("\x1b[32m" in shown) == terminal
        assert f"{len(ids) - 8} trained" in shown
        assert ("─" * 20 in shown) == terminal


def test_decode_shows_texts_as_a_whole(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = samples(out).filter(pl.col("tokens") > 80)["text"][0]
    condition = f"text = '{text}'"
    for words, whole in ((["--decode"], True), ([], False)):
        app(["inspect", str(out), "--where", condition, *words], exit_on_error=False)
        shown = capsys.readouterr().out
        assert (text in shown) == whole
        assert text[:90] in shown
    (stage,) = out.glob("stages/tokens.pretrain-*")
    app(["inspect", str(stage), "--rows", "1", "--decode"], exit_on_error=False)
    assert "<|endoftext|>" in capsys.readouterr().out
