"""The prompts stage: exact counts, no prompt twice, the same rows whatever the part size."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data import schema
from data.errors import SourceError
from flows.plan import Plan, Source, plan_build
from flows.prompting import duplicates, prompt_losses, render_prompts
from flows.seeds import read_seeds

Write = Callable[..., Path]
TOPICS = [{"topic": f"T{n}", "category": "C", "focus": ["f"]} for n in range(8)]


@pytest.fixture
def render(tmp_path: Path, write_recipe: Write) -> Callable[..., tuple[Source, pl.DataFrame]]:
    """The prompts of a source with the given seeds and settings."""

    def render(
        seeds: list[dict[str, Any]], part_rows: int = 5, out: str = "out", **settings: Any
    ) -> tuple[Source, pl.DataFrame]:
        lines = "".join(json.dumps(seed) + "\n" for seed in seeds)
        (tmp_path / "seeds.jsonl").write_text(lines)
        entry = {"kind": "textbook", "seeds": {"file": "seeds.jsonl"}, **settings}
        recipe = write_recipe(change=lambda r: r.update(generate={"books": entry}))
        return rendered(plan_build(str(recipe), tmp_path / out, [f"part_rows={part_rows}"]))

    return render


def rendered(plan: Plan) -> tuple[Source, pl.DataFrame]:
    (source,) = plan.generated
    read_seeds(source)
    render_prompts(source, plan.recipe.seed, plan.recipe.part_rows)
    return source, pl.read_parquet(source.prompts.folder / "part-*.parquet")


def test_ids_follow_from_seed_row_and_draws_as_they_always_did(render: Any) -> None:
    _, prompts = render(TOPICS, samples=8, knobs={"words": 90}, vary={"audience": ["college"]})
    for row in prompts.iter_rows(named=True):
        seed = json.loads(row["seed"])
        assert row["seed_id"] == schema.make_id(["seed", seed])
        knobs = {"audience": "college", "words": 90}
        assert json.loads(row["knobs"]) == knobs
        made_by = ["prompt", 0, "books", "textbook", row["seed_id"], 0, knobs]
        assert row["id"] == schema.make_id(made_by)
        assert row["messages"][0]["content"].count(seed["topic"]) == 1
    order = [schema.make_id([0, "books", id]) for id in prompts["seed_id"]]
    assert order == sorted(order)


VARY = {"audience": {"college": 0.5, "general": 0.25, "middle_school": 0.25}, "words": [80, 90]}


def test_counts_are_exact_and_no_part_size_changes_a_row(render: Any) -> None:
    source, prompts = render(TOPICS, samples=48, vary={"cross": VARY})
    pairs = Counter((k["audience"], k["words"]) for k in map(json.loads, prompts["knobs"]))
    assert pairs["college", 80] == pairs["college", 90] == 8
    assert pairs["general", 80] == 6
    assert duplicates(source) == 8  # 12 of each for college, and there are 8 seeds
    _, other = render(TOPICS, part_rows=1000, out="other", samples=48, vary={"cross": VARY})
    assert other.equals(prompts)
    _, fewer = render(TOPICS, out="fewer", samples=20, vary={"cross": VARY})
    assert fewer.equals(prompts.head(20))


def test_a_duplicate_is_left_out_counted_and_said(render: Any) -> None:
    twins = [{**TOPICS[0], "ignored": n} for n in range(3)]
    source, prompts = render([*twins, TOPICS[1], TOPICS[1]], samples=6, part_rows=1)
    assert sorted(json.loads(seed)["topic"] for seed in prompts["seed"]) == ["T0", "T1"]
    assert duplicates(source) == 4
    assert source.prompts.done
    (line,) = prompt_losses(source)
    assert line.startswith("books: 4 of 6 prompts would be asked again")


def test_a_prompt_may_be_asked_several_times_where_the_recipe_says_so(render: Any) -> None:
    source, prompts = render(TOPICS[:2], samples=7, per_prompt=3)
    assert len(prompts) == 6
    assert prompts["id"].n_unique() == 6
    assert duplicates(source) == 1


def test_what_differs_in_a_later_turn_is_no_duplicate(render: Any) -> None:
    seeds = [{**TOPICS[0], "focus": [f"f{n}"]} for n in range(4)]
    _, prompts = render(seeds, samples=4, kind="chat")
    assert len(prompts) == 4


def test_words_of_a_file_are_drawn(render: Any, tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("100\n200\n\n300\n")
    _, prompts = render(TOPICS, samples=9, vary={"words": {"file": "sizes.txt"}}, part_rows=2)
    drawn = Counter(json.loads(knobs)["words"] for knobs in prompts["knobs"])
    assert set(drawn.values()) == {3}


def test_a_build_cut_off_before_duplicates_were_dropped_drops_them(
    render: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [{**TOPICS[0], "ignored": n} for n in range(9)]
    with monkeypatch.context() as patch:
        patch.setattr("flows.prompting._drop_repeated", lambda *_: interrupt())
        with pytest.raises(KeyboardInterrupt):
            render(twins, samples=9, part_rows=4)
    source, prompts = render(twins, samples=9, part_rows=4)
    assert len(prompts) == 1
    assert duplicates(source) == 8


def interrupt() -> None:
    raise KeyboardInterrupt


def test_seeds_go_through_columns_cut_limit_and_skip(tmp_path: Path, write_recipe: Write) -> None:
    rows = ["no json", *({"name": f"long title {n}", "kind": "C", "body": ["x"]} for n in range(9))]
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (tmp_path / "seeds.jsonl").write_text(text + '\n{"name": "", "kind": "C", "body": ["x"]}\n')
    seeds = {
        "file": "*.jsonl",
        "columns": {"topic": "name", "category": "kind", "focus": "body"},
        "first": {"topic": 10},
        "bad_rows": "skip",
    }
    entry = {"kind": "textbook", "seeds": seeds, "samples": 20}
    recipe = write_recipe(change=lambda r: r.update(generate={"books": entry}))
    source, prompts = rendered(plan_build(str(recipe), tmp_path / "out"))
    assert {json.loads(seed)["topic"] for seed in prompts["seed"]} == {"long title"}
    skipped, _ = prompt_losses(source)
    assert "1 rows of" in skipped
    assert "1 lack what textbook needs" in skipped
    assert duplicates(source) == 19
    stopped = ["generate.books.seeds.bad_rows=stop", "generate.books.seeds.limit=3"]
    with pytest.raises(SourceError, match=r"seeds.jsonl:1: is not JSON"):
        rendered(plan_build(str(recipe), tmp_path / "out", stopped))


def test_an_outline_gives_a_seed_a_unit_with_what_came_before(
    tmp_path: Path, write_recipe: Write
) -> None:
    (tmp_path / "book.yaml").write_text("Physics: {Motion: [Speed, Force], Heat: [Warmth]}")
    seeds = {"file": "book.yaml", "as": "outline", "columns": {"text": "unit", "all": "covered"}}
    entry = {"kind": "course_text", "seeds": seeds, "samples": 3}
    recipe = write_recipe(change=lambda r: r.update(generate={"books": entry}))
    _, prompts = rendered(plan_build(str(recipe), tmp_path / "out"))
    found = {row["text"]: row["all"] for row in map(json.loads, prompts["seed"])}
    assert found == {"Speed": [], "Force": ["Speed"], "Warmth": ["Speed", "Force"]}


def test_many_parts_of_seeds_give_what_one_gives(
    render: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = render(TOPICS, samples=12, vary=VARY)
    monkeypatch.setattr("flows.seeds.PART_ROWS", 3)
    source, cut = render(TOPICS, out="cut", samples=12, vary=VARY)
    assert source.seeds.count() == 3
    assert cut.equals(whole)
