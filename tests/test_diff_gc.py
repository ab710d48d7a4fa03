"""How two builds differ, and which stages no recipe uses any more."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.errors import OutputError, RecipeError
from data.leases import lock
from data.schema import show_id
from flows.cli import app
from tests.builds import digests
from tests.fates import build_fates

CHANGES = ("generate.books.samples=10", "curate.1.length.min_tokens=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`out`, and `other`, built by another recipe of the same name."""
    folder = tmp_path_factory.mktemp("two")
    build_fates(folder)
    build_fates(folder, *CHANGES, out="other", model="other")
    return folder


def ask(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    app([*map(str, words), "--json"], exit_on_error=False)
    return json.loads(capsys.readouterr().out)


def samples(out: Path) -> pl.DataFrame:
    files = sorted(out.glob("stages/samples.*/part-*"))
    tables = [pl.read_parquet(f, glob=False, columns=["id", "text", "source"]) for f in files]
    return pl.concat(tables)


def test_a_build_differs_in_nothing_from_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ask(capsys, "diff", folder / "out", folder / "out")
    assert found["recipe"] == found["versions"] == found["funnel"]["rows"] == []
    same = found["samples"]
    assert same.pop("same") == len(samples(folder / "out"))
    assert {entry["rows"] for entry in same.values()} == {0}


def test_two_builds_differ_in_what_was_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder / "out", folder / "other"
    found = ask(capsys, "diff", a, b, "--examples", "99")
    keys = {row["key"]: (row["a"], row["b"]) for row in found["recipe"]}
    assert keys.pop("engine.endpoints")
    assert keys == {
        "curate.length.min_tokens": (20, 2),
        "engine.model": ("fake", "other"),
        "generate.books.samples": (14, 10),
    }
    versions = {row["key"]: (row["a"], row["b"]) for row in found["versions"]}
    assert set(versions) == {"model.books", "model.scores"}
    only = samples(a).join(samples(b), on="id", how="anti")
    assert set(found["samples"]["only_in_a"]["ids"]) == set(map(show_id, only["id"]))
    assert found["samples"]["only_in_a"]["rows"] == len(only) >= 4
    both = samples(a).join(samples(b), on="id")
    changed = both.filter(pl.col("text") != pl.col("text_right"))
    told = found["samples"]["text_changed"]
    assert {(r["id"], r["a"], r["b"]) for r in told["shown"]} == {
        (show_id(id), old, new)
        for id, old, new in changed.select("id", "text", "text_right").iter_rows()
    }
    assert {row["same_prompt"] for row in told["by"] if row["source"] == "books"} == {True}
    assert found["samples"]["same"] == len(both) - len(changed)
    asked = [r for r in found["funnel"]["rows"] if (r["source"], r["stage"]) == ("books", "asked")]
    assert [(row["rows"], row["rows_b"]) for row in asked] == [(14, 10)]
    app(["diff", str(a), str(b)], exit_on_error=False)
    shown = capsys.readouterr().out
    assert "generate.books.samples: 14 > 10" in shown
    assert "another text: " in shown


def test_a_folder_without_a_build_is_said(tmp_path: Path, folder: Path) -> None:
    for words in (("diff", folder / "out", tmp_path), ("gc", tmp_path), ("explain", tmp_path, "1")):
        with pytest.raises(RecipeError, match="is no build's folder"):
            app([*map(str, words)], exit_on_error=False)
    with pytest.raises(RecipeError, match="holds no recipe 'x'; it has fates"):
        app(["diff", *[str(folder / "out")] * 2, "--recipe", "x"], exit_on_error=False)


def test_only_what_no_recipe_uses_is_removed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    assert ask(capsys, "gc", out)["stages"] == []
    before = {path.name for path in (out / "stages").iterdir()}
    shutil.copy(folder / "out.yaml", tmp_path / "first.yaml")
    plan = build_fates(tmp_path, "curate.1.length.min_tokens=2")
    unused = before - {stage.folder.name for stage in plan.stages()}
    assert {name.partition(".")[0] for name in unused} == {"verdicts", "tokens"}
    listed = ask(capsys, "gc", out)
    assert {stage["stage"] for stage in listed["stages"]} == unused
    assert listed["removed"] is False
    assert ask(capsys, "gc", out, "--dry-run", "--yes")["removed"] is False
    kept = ask(capsys, "gc", out, "--recipe", tmp_path / "first.yaml")
    assert not {stage["stage"] for stage in kept["stages"]} & before
    with pytest.raises(RecipeError, match="nobody can be asked here"):
        app(["gc", str(out)], exit_on_error=False)
    with lock(out), pytest.raises(OutputError, match="another build is running"):
        app(["gc", str(out), "--yes"], exit_on_error=False)
    assert unused <= {path.name for path in (out / "stages").iterdir()}
    record = digests(out / "completions")
    app(["gc", str(out), "--yes"], exit_on_error=False)
    assert f"removed {len(unused)} stages" in capsys.readouterr().out
    assert not unused & {path.name for path in (out / "stages").iterdir()}
    assert digests(out / "completions") == record != {}
    assert plan.done
