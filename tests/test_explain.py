"""A sample's story: from its seed to its rows, or to where it fell and why."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from data import ROOT
from data.errors import RecipeError
from data.parts import MANIFEST, Stage
from data.schema import show_id
from data.shards import shard_files
from data.tokenization import load_tokenizer
from flows.cli import app
from flows.loading import load_recipe
from flows.lookup import find, id_ranges, index_build
from flows.placing import find_token
from flows.plan import make_plan
from flows.showing import changes, diff
from flows.stored import StoredStage, read_builds
from flows.storing import resolved
from flows.story import Story, find_story
from tests.fates import FIRST, TEXTS, build_fates, recipe_of

WHOLE = [(0, 2**64 - 1)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fates(tmp_path_factory.mktemp("fates")).out


def samples(out: Path) -> pl.DataFrame:
    files = sorted(out.glob("stages/samples.books-*/part-*.parquet"))
    return pl.read_parquet(files, glob=False)


def tell(out: Path, id: int) -> Story:
    return find_story(out, [(id, id)], show_id(id))


@pytest.fixture(scope="module")
def stories(out: Path) -> list[Story]:
    return [tell(out, id) for id in samples(out)["id"]]


def told(stories: list[Story], text: str) -> list[Story]:
    """The stories of the samples that came as a text."""
    return [story for story in stories if story["reply"]["text"] == TEXTS[text]]


def verdicts(out: Path) -> dict[str, str]:
    files = [*out.glob("stages/verdicts.*/part-*"), *out.glob("stages/samples.*/verdicts-*")]
    rows = pl.concat([pl.read_parquet(f, glob=False, columns=["id", "reason"]) for f in files])
    return {show_id(id): reason for id, reason in rows.iter_rows()}


def test_every_sample_is_told_as_its_tables_say(out: Path, stories: list[Story]) -> None:
    fell = verdicts(out)
    assert {"empty_reply", "too_short", "same_text", "like_another"} <= set(fell.values())
    for row, story in zip(samples(out).to_dicts(), stories, strict=True):
        assert (story["fell"] or {}).get("reason") == fell.get(story["id"])
        assert story["state"] == ("rejected" if story["id"] in fell else "kept")
        assert story["prompt"]["messages"][-1]["content"] == row["prompt"]
        assert story["request"]["model"] == "fake"
        assert story["request"]["sampling"]["max_tokens"] == 64
        name, _, line = story["seed"]["at"].partition(":")
        seed = (ROOT / "data" / "seeds" / name).read_text().splitlines()[int(line) - 1]
        assert json.loads(seed) == story["seed"]["columns"]
        if story["fell"] and story["fell"]["stage"] == "parse":
            assert {step["result"] for step in story["steps"]} == {"not reached"}


def test_a_samples_rows_hold_its_tokens_and_nothing_else(out: Path, stories: list[Story]) -> None:
    tokenizer = load_tokenizer("gpt2")
    kept = split = 0
    for row, story in zip(samples(out).to_dicts(), stories, strict=True):
        if story["fell"]:
            assert story["outputs"] == []
            continue
        kept += 1
        text = row["text"]
        for step in story["steps"]:
            text = step["after"]["text"] if step["result"] == "changed" else text
        output = next(o for o in story["outputs"] if o["output"] == "pretrain")
        pieces = sorted(output["rows"], key=lambda piece: piece["document_offset"])
        split += len(pieces) > 1
        ids: list[int] = []
        for piece in pieces:
            assert piece["document_offset"] == len(ids)
            shard = pl.read_ipc(out / "shards" / piece["shard"])
            ids += shard["input_ids"][piece["row"]].to_list()[piece["start"] : piece["end"]]
        assert len(ids) == output["tokens"]
        assert tokenizer.decode(ids).endswith(f"{text}<|endoftext|>")
    assert kept
    assert split


def test_what_a_cleaner_changed_is_told_before_and_after(stories: list[Story]) -> None:
    (story,) = told(stories, "cleaned")
    step = story["steps"][0]
    assert step["result"] == "changed"
    assert step["before"]["text"] == story["sample"]["text"]
    assert step["after"]["text"] == step["before"]["text"].replace("\u00a0", " ").replace(
        "  \n\n\n\n", "\n\n"
    )


def test_duplicates_name_each_other_and_who_stays(stories: list[Story]) -> None:
    same, near = told(stories, "first"), told(stories, "near")
    assert len(same) == 2
    ids = {story["id"] for story in same}
    (kept,) = [s for s in same if s["steps"][2]["result"] == "kept"]
    for story in same:
        cluster = story["steps"][2]["cluster"]
        assert cluster["kept"] == kept["id"]
        assert {member["id"] for member in cluster["members"]} == ids - {story["id"]}
    (other,) = near
    of_kept, of_other = (s["steps"][3]["cluster"] for s in (kept, other))
    assert [member["id"] for member in of_kept["members"]] == [other["id"]]
    assert [member["id"] for member in of_other["members"]] == [kept["id"]]
    assert 0.5 < of_kept["members"][0]["similarity"] < 1
    assert of_kept["kept"] == of_other["kept"]


def test_what_was_made_from_a_sample_is_told(out: Path, stories: list[Story]) -> None:
    made = [child for story in stories for child in story["made_from_it"]]
    assert len(made) == 4
    assert all("score" in child["meta"] for child in made)
    (score,) = [s for s in [tell(out, int(made[0]["id"], 16))] if s["source"] == "scores"]
    assert score["seed"]["from"] == "books"
    assert made[0] in tell(out, int(score["seed"]["id"], 16))["made_from_it"]


def test_a_token_of_a_shard_leads_to_its_sample(out: Path) -> None:
    for output in ("pretrain", "chat"):
        (shard, *_) = shard_files(out / "shards" / output)
        rows = pl.read_ipc(shard)
        for number in (0, len(rows) - 1):
            row = rows.row(number, named=True)
            owners = np.repeat(row["doc_ids"], row["seq_lengths"][: len(row["doc_ids"])])
            for at in {0, row["seq_lengths"][0] - 1, row["n_tokens"] - 1}:
                id, token = find_token(out, f"{output}/{shard.name}:{number}:{at}")
                assert id == owners[at]
                assert token["token"] == load_tokenizer("gpt2").decode([row["input_ids"][at]])
    for place, says in (("99999:0", "has no row"), (f"{number}:99999", "lies behind")):
        with pytest.raises(RecipeError, match=says):
            find_token(out, f"{output}/{shard.name}:{place}")
    with pytest.raises(RecipeError, match="several outputs"):
        find_token(out, f"{shard.name}:0:0")


def test_ids_are_prefixes_or_decimals() -> None:
    assert id_ranges("00000000000000ff") == [(255, 255)]
    assert id_ranges("ABCDEF") == [(0xABCDEF << 40, (0xABCDEF << 40) + 2**40 - 1)]
    assert (1234567, 1234567) in id_ranges("1234567")
    assert id_ranges(str(2**64 - 1)) == [(2**64 - 1, 2**64 - 1)]
    for wrong in ("abcde", "ghijkl", str(2**64), ""):
        with pytest.raises(RecipeError, match="is no id"):
            id_ranges(wrong)


def test_an_id_of_several_samples_or_of_none_is_said(out: Path) -> None:
    with pytest.raises(RecipeError, match=r"begins several ids: .* more; give more digits"):
        find_story(out, WHOLE, "0")
    with pytest.raises(RecipeError, match="no sample has the id"):
        find_story(out, [(1, 1)], "1")


def test_an_index_is_kept_and_made_again_with_its_stage(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "samples.books", {})

    def write(*ids: int) -> StoredStage:
        stage.begin()
        for part, id in enumerate(ids):
            column = pa.array([7, id], pa.uint64())
            stage.write(part, pa.table({"id": column, "other": column}))
        stage.finish()
        return StoredStage(stage.folder, stage.name, {}, ())

    def rows(stored: StoredStage, first: int, last: int) -> list[tuple[int, int, int]]:
        return sorted(find(stored, [(first, last)]).rows())

    top = 2**64 - 1
    assert rows(write(5, top), 5, 7) == [(5, 0, 1), (7, 0, 0), (7, 1, 0)]
    (index,) = stage.folder.glob("*.ipc")
    before = index.read_bytes()
    stored = StoredStage(stage.folder, stage.name, {}, ())
    assert rows(stored, top, top) == [(top, 1, 1)]
    assert index.read_bytes() == before
    assert rows(write(5, 6), 6, top) == [(6, 1, 1), (7, 0, 0), (7, 1, 0)]
    index.write_bytes(b"torn")
    assert rows(stored, 5, 6) == [(5, 0, 1), (6, 1, 1)]
    (stage.folder / MANIFEST).unlink()
    assert rows(stored, 5, 6) == [(5, 0, 1), (6, 1, 1)]


def test_an_index_of_many_parts_is_made_span_by_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.lookup.SPAN", 2)
    stage = Stage(tmp_path, "seeds.books", {})
    stage.begin()
    contents: list[list[int]] = [[8, 1], [], [1, 3], [9], [1]]
    for part, ids in enumerate(contents):
        stage.write_arrow(part, pa.table({"id": pa.array(ids, pa.uint64())}))
    stage.finish()
    stored = StoredStage(stage.folder, stage.name, {}, ())
    for _ in range(2):
        assert find(stored, [(1, 2)]).rows() == [(1, 0, 1), (1, 2, 0), (1, 4, 0)]
        assert find(stored, [(9, 9), (3, 8)]).rows() == [(8, 0, 0), (9, 3, 0), (3, 2, 1)]
        assert len(list(stage.folder.glob("ids-of-part-*.ipc"))) == 3
    monkeypatch.setattr("flows.lookup.SPAN", 4)
    assert find(stored, [(1, 2)]).rows() == [(1, 0, 1), (1, 2, 0), (1, 4, 0)]


def indexes(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("stages/*/*.ipc")}


def test_a_build_makes_all_indexes_that_questions_ask(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    before = indexes(copy)
    for id in samples(copy)["id"]:
        tell(copy, id)
    with pytest.raises(RecipeError, match="no sample has the id"):
        tell(copy, 1)
    assert indexes(copy) == before
    for path in before:
        Path(path).unlink()
    index_build(copy, "other")
    assert not indexes(copy)
    index_build(copy, "fates")
    assert set(indexes(copy)) == set(before)


def test_a_build_under_way_is_told_as_far_as_it_is(
    out: Path, stories: list[Story], tmp_path: Path
) -> None:
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "shards")
    (id,) = [int(story["id"], 16) for story in told(stories, "cleaned")]
    for name in ("verdicts.3", "verdicts.4", "tokens"):
        for folder in copy.glob(f"stages/{name}*"):
            shutil.rmtree(folder)
    for folder in copy.glob("stages/verdicts.2*"):
        (folder / MANIFEST).unlink()
    story = tell(copy, id)
    results = [step["result"] for step in story["steps"]]
    assert results == ["changed", "kept", "not judged yet", "not judged yet"]
    assert {(o["tokens"], o["packed"]) for o in story["outputs"]} == {(None, False)}
    for folder in (*copy.glob("stages/samples.*"), *copy.glob("stages/completions.*")):
        shutil.rmtree(folder)
    story = tell(copy, id)
    assert story["state"] == "waiting for a reply"
    assert story["prompt"]["messages"]


def test_the_command_tells_it_in_words_and_as_json(
    out: Path, stories: list[Story], capsys: pytest.CaptureFixture[str]
) -> None:
    (story,) = told(stories, "cleaned")
    app(["explain", str(out / "shards"), story["id"][:9]], exit_on_error=False)
    shown = capsys.readouterr().out
    for part in (story["id"], "topics.jsonl:", "1 normalize_text: changed", "output pretrain"):
        assert part in shown
    assert re.search(r"pretrain/\w+-00000-of-00001.arrow:\d+:\d+ to \d+", shown)
    app(["explain", str(out), story["id"], "--json"], exit_on_error=False)
    found = json.loads(capsys.readouterr().out)
    assert found == {"token": None, **story}
    address = f"{found['outputs'][0]['rows'][0]['shard']}:{found['outputs'][0]['rows'][0]['row']}"
    app(["explain", str(out), f"{address}:0", "--json"], exit_on_error=False)
    assert json.loads(capsys.readouterr().out)["token"]["offset"] == 0


def test_a_diff_says_both_texts() -> None:
    after = FIRST.replace("one tenth stands", "much\x1b[31m stands").replace("Lakes ", "")
    found = list(changes(FIRST, after))
    assert "".join(text for kind, text in found if kind != "new") == FIRST
    assert "".join(text for kind, text in found if kind != "gone") == after
    shown = diff(FIRST, after).plain
    assert "[-one tenth -]{+much\\x1b[31m +}stands" in shown
    assert "[-Lakes -]freeze" in shown
    assert "Ice floats" not in shown
    assert list(changes("", "")) == [("same", ""), ("same", "")]


def test_the_stored_recipe_builds_the_same_stages_and_holds_no_secret(out: Path) -> None:
    (build,) = read_builds(out)
    recipe = load_recipe(str(build.recipe_file))
    plan = make_plan(recipe, out)
    assert plan.done
    assert {s.folder.name for s in plan.stages() if s.at is None} == set(build.facts["stages"])
    assert recipe.curate[1].except_ == ("scores",)


def test_logins_of_endpoints_are_not_stored(tmp_path: Path) -> None:

    path = tmp_path / "fates.yaml"
    path.write_text(json.dumps(recipe_of("http://host:1/v1")))
    recipe: dict[str, Any] = resolved(load_recipe(str(path)))
    assert recipe["engine"]["endpoints"] == ["http://host:1/v1"]
