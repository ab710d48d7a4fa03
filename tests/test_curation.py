"""The curate stage: verdicts and changes of a build whose samples are given."""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from benchmarks.sample_stage import recipe, write_samples
from data import ROOT
from data.errors import DamagedPart, RecipeError, ShardmillError, SourceError
from data.schema import show_id
from filters import load_filter
from flows import curation
from flows.curation import curate
from flows.neighbours import cluster
from flows.outputs import duplicate_clusters, pack, tokenize
from flows.plan import Plan, plan_build
from flows.recipe import make_knobs
from flows.report import contamination, funnel
from flows.stages import Work, kept_samples, sample_parts
from flows.stored import StoredStage
from tests.builds import digests
from tests.corpora import write_lines

SEA = "The sea is deep and the sea is wide, and nobody who lives by it has ever seen its end."


def plan_of(folder: Path, curation: list[Any], out: str = "out") -> Plan:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(curation)))
    return plan_build(str(path), folder / out)


def made(folder: Path, curation: list[Any], rows: Sequence[Any], part: int = 3) -> Plan:
    """A plan whose samples are `rows`, texts or columns, in parts of that many."""
    plan = plan_of(folder, curation)
    filled = [
        {
            "text": None,
            "tag": None,
            "messages": None,
            **(row if isinstance(row, dict) else {"text": row}),
        }
        for row in rows
    ]
    numbered = [{"id": n, **row} for n, row in enumerate(filled)]
    kinds = {"id": pl.UInt64, "text": pl.String, "tag": pl.String}
    turn = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    frame = pl.DataFrame(numbered, schema={**kinds, "messages": turn}, strict=False)
    write_samples(plan, (frame[n : n + part].to_arrow() for n in range(0, len(frame), part)))
    return plan


def verdicts(plan: Plan) -> dict[int, str]:
    found: dict[int, str] = {}
    for step in plan.steps:
        for index in range(len(sample_parts(plan))):
            found |= dict(
                pl.DataFrame(step.verdicts.read(index)).select("id", "reason").iter_rows()
            )
    return found


def kept(plan: Plan) -> pl.DataFrame:
    return pl.concat([kept_samples(plan, n) for n in range(len(sample_parts(plan)))])


def test_cleaners_change_text_and_keep_what_was_before(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi \u00a0"}, {"role": "assistant", "content": "Hello."}]
    rows = ["One  \r\ntwo", "Plain.", {"messages": chat}, "\ufeff \n", "Two  words "]
    plan = made(tmp_path, ["normalize_text", {"length": {"min_tokens": 1}}], rows, part=2)
    curate(plan)
    left = {row["id"]: row for row in kept(plan).iter_rows(named=True)}
    assert left[0]["text"] == "One\ntwo"
    assert left[1]["text"] == "Plain."
    assert [turn["content"] for turn in left[2]["messages"]] == ["Hi", "Hello."]
    assert left[4]["text"] == "Two  words"
    assert verdicts(plan) == {3: "nothing_left"}
    stage = plan.steps[0].verdicts
    changes = pl.concat([pl.DataFrame(stage.read(n, "changes")) for n in range(3)])
    assert dict(changes.select("id", "before_text").iter_rows())[0] == "One  \r\ntwo"
    assert sorted(changes["id"]) == [0, 2, 3, 4]
    table = funnel(plan)
    cleaned = table.filter(pl.col("reason") == "cleaned")
    assert cleaned["rows"].to_list() == [0]
    tokens = dict(
        table.group_by(pl.col("stage") == "asked").agg(pl.col("tokens").sum()).iter_rows()
    )
    assert tokens[True] == tokens[False]


def test_later_filters_judge_what_cleaners_left(tmp_path: Path) -> None:
    rows = ["Sure! Here it is:\n\n" + SEA, SEA]
    for order, fallen in ((["strip_boilerplate", "refusal"], {}), (["refusal"], {0: "preamble"})):
        folder = tmp_path / str(len(order))
        folder.mkdir()
        plan = made(folder, order, rows)
        curate(plan)
        assert verdicts(plan) == fallen


HOSTILE = [
    "",
    None,
    " \n\t ",
    "!!! ??? ... --- ###",
    "nospaces" * 20_000,
    "مرحبا بكم في هذا النص الطويل الذي لا يفصل بين كلماته إلا الفراغ. " * 20,
    "水の上に氷が浮くのは、氷の密度が水より小さいからである。" * 40,
    "a\x00b \ufffd \u202e rtl \u200b zero",
    "🙂 " * 300,
    SEA,
    "x" * 100_000 + " " + "y" * 100_000,
    "\n" * 5000,
    "{" * 3000 + "lorem ipsum",
    "1 2 3 4 5 6 7 8 9 0 " * 200,
]
EVERYTHING = [
    "normalize_text",
    "fix_text",
    "strip_boilerplate",
    "c4_lines",
    "mask_personal_data",
    "gopher_quality",
    "gopher_repetition",
    "fineweb",
    "c4",
    "repetition",
    "unfinished_ending",
    "refusal",
    "special_tokens",
    "symbol_ratio",
    "digit_ratio",
    "personal_data",
    "language",
    "opening_phrase",
    "exact_duplicate",
    "near_duplicate",
    {"banned_words": {"words": ["darn"]}},
    {"min_score": {"score": {"column": "tokens"}, "min": 1}},
    {
        "decontaminate": {
            "benchmarks": [{"file": "data/samples/benchmark.jsonl", "columns": ["question"]}]
        }
    },
]


@pytest.mark.parametrize(
    "step", EVERYTHING, ids=lambda s: s if isinstance(s, str) else next(iter(s))
)
def test_no_filter_fails_on_hostile_text(tmp_path: Path, step: Any) -> None:
    """Each alone, so that no earlier one shields it."""
    plan = made(tmp_path, [step], [*HOSTILE, *({"text": t, "tag": "Code"} for t in HOSTILE)], 9)
    curate(plan)
    table = funnel(plan)
    rows = dict(table.group_by("stage").agg(pl.col("rows").sum()).iter_rows())
    assert sum(count for stage, count in rows.items() if stage != "asked") == 2 * len(HOSTILE)


def test_all_filters_in_one_build_give_the_same_whatever_the_parts_and_threads(
    tmp_path: Path,
) -> None:
    texts = [text for text in HOSTILE if text] + [f"{SEA} Number {n}." for n in range(12)]

    def threads(name: str, work: Work, indices: Sequence[int]) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, reversed(indices)))

    found: list[Any] = []
    runners: list[tuple[int, Callable[..., None] | None]] = [(4, None), (50, None), (4, threads)]
    for number, (part, run) in enumerate(runners):
        folder = tmp_path / str(number)
        folder.mkdir()
        plan = made(folder, EVERYTHING[:-1], texts, part)
        if run:
            curate(plan, run)
        else:
            curate(plan)
        found.append((verdicts(plan), kept(plan).sort("id")["text"].to_list()))
    assert found[0] == found[1] == found[2]
    assert len(found[0][0]) > 5


def test_a_damaged_sample_part_is_named(tmp_path: Path) -> None:
    plan = made(tmp_path, ["near_duplicate"], [SEA] * 9)
    path = plan.sources[0].samples.file(1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedPart, match=r"part-00001\.parquet"):
        curate(plan)


def test_a_killed_corpus_filter_starts_again_from_its_sketches(tmp_path: Path) -> None:
    plan = made(tmp_path, ["near_duplicate"], [SEA, SEA + " Truly.", "Other words."] * 3, 2)

    def killed(name: str, work: Work, indices: Sequence[int]) -> None:
        if name.endswith("resolve"):
            raise KeyboardInterrupt
        for index in indices:
            work(index)

    with pytest.raises(KeyboardInterrupt):
        curate(plan, killed)
    assert len(list(plan.steps[0].verdicts.folder.glob("sketches-*"))) == 5
    curate(plan)
    assert not list(plan.steps[0].verdicts.folder.glob("*.arrow"))
    again = digests(plan.out)
    curate(plan)
    assert digests(plan.out) == again
    assert len(verdicts(plan)) == 7


def test_an_earlier_build_is_a_reference(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    made(tmp_path / "first", [], [SEA, "The tide turns twice a day, at times that shift."])
    step = {"near_duplicate": {"against": [str(tmp_path / "first" / "out")]}}
    plan = made(tmp_path, [step], [SEA + " Truly.", "Some other words that nobody wrote before."])
    curate(plan)
    assert verdicts(plan) == {0: "like_reference"}


def test_a_cluster_is_on_one_side_of_the_validation_split(tmp_path: Path) -> None:
    """Of pairs of problems that differ in a number, both stay, and they train or validate
    together; one filter sees the first pair and the other all."""
    draw = np.random.default_rng(0)
    problems = [" ".join(draw.integers(0, 10**6, 40).astype(str)) for _ in range(30)]
    rows = [
        {"text": f"{words} has {number} pens.", "tag": "Math"}
        for words in problems
        for number in (3, 4)
    ]
    plan = made(tmp_path, [{"exact_duplicate": {"mode": "audit"}}, "near_duplicate"], rows, 7)
    curate(plan)
    assert verdicts(plan) == {}
    found = duplicate_clusters(plan)
    assert found is not None
    assert found[0].tolist() == list(range(60))
    assert found[1].tolist() == [n - n % 2 for n in range(60)]
    (target,) = plan.targets
    validation = target.settings.model_copy(update={"validation": 0.3})
    target = dataclasses.replace(target, settings=validation)
    tokenize(plan, target, print)
    pack(plan, target)
    sides = [
        set(pl.read_ipc(target.shards.folder / f"{side}-*.arrow")["doc_ids"].explode())
        for side in ("train", "validation")
    ]
    assert 0 < len(sides[1]) < 60
    assert sides[0] | sides[1] == set(range(60))
    assert all({id ^ 1 for id in side} == side for side in sides)


@pytest.mark.parametrize("mode", ["drop", "audit"])
def test_a_story_names_all_of_a_cluster(tmp_path: Path, mode: str) -> None:
    """The first text is like the third only through the second; what has another number is like
    the third, but stays."""
    letters = np.random.default_rng(1).choice(list("abcdefghijkl"), (80, 6))
    words = ["".join(word) for word in letters]
    chain = [" ".join(words[10 * n : 10 * n + 60]) + " makes 5." for n in range(3)]
    rows = [{"text": text, "tag": "Math"} for text in (*chain, chain[2].replace(" 5.", " 6."))]
    rows += [{"text": SEA}]
    step = {"near_duplicate": {"mode": mode, "min_similarity": 0.6}}
    plan = made(tmp_path, [step], rows)
    curate(plan)
    (verdict,) = plan.steps
    stage = StoredStage(verdict.verdicts.folder, "", {}, ())
    fell = verdicts(plan)
    for id in range(4):
        kept = {"kept": show_id(0)} if id in fell else None
        found = cluster(stage, id, kept)
        assert found is not None
        assert found["kept"] == show_id(0 if id in fell else id)
        members = {int(member["id"], 16): member for member in found["members"]}
        assert set(members) == {0, 1, 2, 3} - {id}
        assert {n for n, member in members.items() if not member["kept"]} == set(fell) - {id}
    assert set(fell) == (set() if mode == "audit" else {1, 2})
    assert members[0]["similarity"] is None
    assert members[2]["similarity"] > 0.9
    assert cluster(stage, 4, None) is None


def test_the_funnel_tells_tag_filter_and_reason(tmp_path: Path) -> None:
    rows = [{"text": SEA, "tag": tag} for tag in ("Math", "Math", None)] + [{"text": "Up."}]
    plan = made(tmp_path, [{"length": {"min_tokens": 3}}], rows)
    curate(plan)
    table = funnel(plan)
    fallen = table.filter(pl.col("filter").is_not_null())
    assert fallen.select("source", "tag", "stage", "filter", "reason", "rows").rows() == [
        ("made", None, "1 length", "length", "too_short", 1)
    ]
    asked = table.filter(pl.col("stage") == "asked")
    assert dict(asked.select("tag", "rows").iter_rows()) == {"Math": 2, None: 2}


def test_a_sample_with_two_verdicts_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = made(tmp_path, ["special_tokens"], [SEA] * 4)
    original = curation._reject

    def doubled(*given: Any) -> pl.DataFrame:
        verdict = pl.DataFrame({"id": [0, 0], "reason": ["x", "y"], "figures": ["", ""]})
        return verdict.cast({"id": original(*given).schema["id"]})

    monkeypatch.setattr(curation, "_reject", doubled)
    with pytest.raises(ShardmillError, match="samples went in"):
        curate(plan)


def test_decontamination_audits_and_drops_and_reports(tmp_path: Path) -> None:
    question = "A tank holds ninety litres and a pump fills fifteen litres each minute. How long?"
    file = write_lines(
        tmp_path / "q.jsonl", [{"q": question}, {"q": SEA}, {"q": "Why is that so?"}]
    )
    benchmark = {"file": str(file), "columns": ["q"], "name": "tanks"}
    edited = question.replace("litres each", "litres every").replace("holds", "takes")
    rows = [f"Now: {question} Well.", edited, "A tank and a pump.", f"{question}\n{SEA}"]
    for mode, fallen in (("drop", {0, 1, 3}), ("audit", set())):
        folder = tmp_path / mode
        folder.mkdir()
        plan = made(
            folder, [{"decontaminate": {"benchmarks": [benchmark], "mode": mode, "ngram": 6}}], rows
        )
        curate(plan)
        assert set(verdicts(plan)) == fallen
        (row,) = contamination(plan).iter_rows(named=True)
        assert (row["benchmark"], row["samples"], row["items"]) == ("tanks", 3, 2)
        assert row["matched"].startswith("A tank holds ninety")
        assert row["share"] == 1.0


def test_every_item_that_shares_words_is_measured(tmp_path: Path) -> None:
    """The first item found shares a phrase only; the second stands there as a whole."""
    phrase = "one two three four five six seven eight nine ten eleven"
    long = " ".join(f"w{n}" for n in range(60))
    file = write_lines(tmp_path / "q.jsonl", [{"q": f"{phrase} {long}"}, {"q": f"{phrase} twelve"}])
    step = {"decontaminate": {"benchmarks": [{"file": str(file), "columns": ["q"]}]}}
    plan = made(tmp_path, [step], [f"{phrase} twelve", f"{phrase} and no more of it"])
    curate(plan)
    assert set(verdicts(plan)) == {0, 1}
    notes = pl.DataFrame(plan.steps[0].verdicts.read(0, "notes"))
    assert set(notes["item"]) == {"1.q"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": "x"}\n', "q.jsonl:1: lacks the column 'q'; it has a"),
        (b'{"q": "x"}\nno\n', "q.jsonl:2: is not JSON in UTF-8"),
        (b'{"q": "\xff\xfe"}\n', "q.jsonl:1: is not JSON in UTF-8"),
        (b'{"q": "\\ud800"}\n', "q.jsonl:1: holds half a surrogate pair"),
        (b"[1]\n", "q.jsonl:1: is not a JSON object"),
    ],
)
def test_a_benchmark_that_cannot_be_read_stops_the_plan(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "q.jsonl").write_bytes(content)
    step = {"decontaminate": {"benchmarks": [{"file": "q.jsonl", "columns": ["q"]}]}}
    with pytest.raises(SourceError, match=says):
        plan_of(tmp_path, [step])


def test_invalid_text_in_parquet_is_named(tmp_path: Path) -> None:
    offsets = pa.py_buffer(pa.array([0, 2], pa.int32()).buffers()[1])
    broken = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xff\xfe"))
    pa.parquet.write_table(pa.table({"q": broken}), tmp_path / "q.parquet")
    step = {"decontaminate": {"benchmarks": [{"file": "q.parquet", "columns": ["q"]}]}}
    with pytest.raises(SourceError, match=r"q.parquet: cannot be read as Parquet"):
        plan_of(tmp_path, [step])


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"near_duplicate": {"against": ["nowhere.jsonl"]}}, "nowhere.jsonl does not exist"),
        ({"near_duplicate": {"keep": "best"}}, "keep: best and score go together"),
        ({"min_score": {"score": {"column": "text"}, "min": 1}}, "no numeric column"),
        ({"min_score": {"score": {"from": "x", "column": "s"}, "min": 1}}, "come from no source"),
        ({"decontaminate": {"benchmarks": [{"hub": "some/set"}]}}, "needs columns"),
        ({"datatrove": {"filter": "NoFilter"}}, "has no filter 'NoFilter'"),
        ({"language": {"keep": ["xx"]}}, "unknown language 'xx'"),
    ],
)
def test_a_wrong_knob_stops_the_plan(tmp_path: Path, step: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        plan_of(tmp_path, [step])


def test_a_judges_scores_are_joined_by_the_sample_that_it_read(tmp_path: Path) -> None:
    step = {"min_score": {"score": {"from": "judge", "column": "score"}, "min": 3}}
    whole = recipe([{**step, "min_score": {**step["min_score"], "only": ["made"]}}])
    whole["generate"]["judge"] = {"kind": "textbook", "seeds": {"from": "made"}, "samples": 1}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    plan = plan_build(str(path), tmp_path / "out")
    texts = pl.DataFrame({"id": [1, 2, 3], "text": [SEA] * 3}, schema_overrides={"id": pl.UInt64})
    write_samples(plan, [texts.to_arrow()])
    said = pl.DataFrame(
        {
            "id": [11, 12, 13],
            "seed_id": [1, 2, 2],
            "text": ["2", "4", "3"],
            "meta": [json.dumps({"score": score}) for score in (2, 4, 3)],
        },
        schema_overrides={"id": pl.UInt64, "seed_id": pl.UInt64},
    )
    write_samples(plan, [said.to_arrow()], 1)
    curate(plan)
    assert verdicts(plan) == {1: "low_score", 3: "no_score"}


def test_the_readmes_curation_names_filters_and_knobs_that_exist(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(curate:.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for entry in [entry for block in blocks for entry in yaml.safe_load(block)["curate"]]:
        name, knobs = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        own = {key: value for key, value in knobs.items() if key not in ("only", "except")}
        make_knobs(load_filter(name), own, name)
