"""The report of a build: what it says, what it lets through, and from what it is made."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from aiohttp import web

import prompts
from data import ROOT
from data.errors import DamagedPart, SourceError
from flows.page import charts, facts, write_page
from flows.page.render import visible
from flows.page.stored import Stored
from flows.plan import Plan
from inference.timeline import STEPS, Timeline
from tests.builds import build
from tests.fake_server import FakeServer
from tests.page import Page

Write = Callable[..., Path]
HOSTILE = [
    "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)>",
    "left \u202e right \u2066 marks \x00 and a nul \x1b[31m",
    "word " + "x" * 1_000_000,
    '"><svg onload=alert(1)>&amp;<b>bold</b>',
    "{{ facts.name }} {% raw %} <!-- ",
]


KIND = '''
"""Whatever the model says."""

from prompts import Draft, TaskKind, user


class AsItComes(TaskKind):
    """Whatever the model says."""

    NEEDS = {"topic": str}

    def messages(self, seed):
        return user(f"Tell me of {seed['topic']}.")

    def parse(self, reply, seed):
        return Draft(reply)

    EXAMPLES = ()
'''


def answer(body: dict[str, Any], before: int) -> web.Response:
    """Mostly prose of its own; some the same for many, some hostile, some of a benchmark."""
    number = int(body["seed"]) % 1000
    text = f"Story {number} " + " ".join(f"word{number * 7 + n}" for n in range(20 + number % 90))
    if number % 4 == 0:
        text = "A lighthouse keeper counts the ships that pass by his rock in the night."
    elif number % 3 == 0:
        text = HOSTILE[number % len(HOSTILE)] + " and more than five words."
    elif number % 11 == 0:
        text = f"{number}: which gas do plants take up from air? They say, carbon dioxide. {number}"
    elif number % 13 == 0:
        text = f"Too short {number}."
    reply = {"message": {"content": text}, "finish_reason": "stop"}
    return web.json_response({"choices": [reply], "usage": {"completion_tokens": 30}})


def recipe_of(recipe: dict[str, Any]) -> None:
    benchmark = {"file": str(ROOT / "data/samples/benchmark.jsonl"), "columns": ["question"]}
    recipe["engine"]["licence"] = "cc-by-nc-4.0"
    recipe["engine"]["endpoints"] = [
        url.replace("://", "://user:secret@") for url in recipe["engine"]["endpoints"]
    ]
    recipe["generate"] = {
        "books": {
            "kind": "as_it_comes",
            "seeds": {"file": "data/seeds/topics.jsonl"},
            "samples": 120,
        },
    }
    recipe["curate"] = [
        "normalize_text",
        {"length": {"min_tokens": 9}},
        {"exact_duplicate": {}},
        {"decontaminate": {"benchmarks": [benchmark], "mode": "audit"}},
    ]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "as_it_comes.py").write_text(KIND)
    with FakeServer(fault=answer) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "__path__", [*prompts.__path__, str(folder)])
        recipe: dict[str, Any] = {
            "name": "small",
            "engine": {"model": "fake", "endpoints": [server.url]},
            "outputs": {"pretrain": {"sequence_length": 128, "validation": 0.1}},
            "part_rows": 25,
        }
        recipe_of(recipe)
        (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
        yield build(folder / "small.yaml", folder / "out")


@pytest.fixture(scope="module")
def page(plan: Plan) -> Page:
    return Page(write_page(plan.out))


def numbers(cells: list[str]) -> list[int]:
    return [int(cell.replace(",", "")) for cell in cells]


def test_the_page_says_what_the_funnel_says(plan: Plan, page: Page) -> None:
    funnel = pl.read_csv(plan.out / "funnel.csv")
    kept = funnel.filter(pl.col("stage") == "kept")
    assert f"samples kept {kept['rows'].sum()} of 120" in page.text("summary")
    stages = {row[0]: row[1:] for row in page.rows["funnel"]}
    steps = ["normalize_text", "length", "exact_duplicate", "decontaminate"]
    assert list(stages) == ["after", "asked", *steps]
    assert numbers(stages["decontaminate"][:1]) == [kept["tokens"].sum()]
    fallen = funnel.filter(pl.col("filter").is_not_null() & (pl.col("rows") > 0))
    sums = fallen.group_by("filter", "reason").agg(pl.col("rows", "tokens").sum())
    said = {row[0]: numbers(row[1:3]) for row in page.rows["rejected"][1:]}
    assert said == {
        f"{name} {reason}": [rows, tokens] for name, reason, rows, tokens in sums.rows()
    }


def test_lengths_add_up_to_what_came_in_and_what_was_kept(plan: Plan, page: Page) -> None:
    funnel = pl.read_csv(plan.out / "funnel.csv")
    kept = funnel.filter(pl.col("stage") == "kept")["rows"].sum()
    bins = [numbers(row) for row in page.rows["lengths"][1:]]
    assert sum(row[2] for row in bins) == 120
    assert sum(row[3] for row in bins) == kept
    assert any(row[2] and not row[3] for row in bins)


def test_examples_are_ten_of_each_reason_and_show_their_verdict(plan: Plan) -> None:
    found = facts.gather(Stored(plan.out))
    stages = [step.verdicts for step in plan.steps]
    tables = [stage.read(n) for stage in stages for n in range(stage.count())]
    rows = (row for table in tables for row in table.to_pylist())
    verdicts = {f"{row['id']:016x}": (row["filter"], row["reason"]) for row in rows}
    shown = found["rejections"]["reasons"]
    assert {"same_text", "too_short"} == {row["reason"] for row in shown}
    for row in shown:
        assert len(row["examples"]) == min(10, row["rows"])
        for example in row["examples"]:
            assert verdicts[example["id"]] == (row["filter"], row["reason"])
            assert example["figures"]
            assert len(example["text"]) <= 700


def test_a_page_says_the_same_however_many_parts_are_read_at_once(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = facts.gather(Stored(plan.out))
    assert len(Stored(plan.out).parts) > 3
    for module in ("batches", "facts"):
        monkeypatch.setattr(f"flows.page.{module}.AT_ONCE", 2)
    assert facts.gather(Stored(plan.out)) == whole


def test_the_largest_group_of_duplicates_is_shown_with_its_texts(plan: Plan, page: Page) -> None:
    texts = pl.read_parquet(plan.sources[0].samples.folder / "part-*.parquet")["text"]
    said = page.text("duplicates")
    assert f"{texts.str.starts_with('A lighthouse').sum()} alike" in said
    assert said.count("A lighthouse keeper counts") == 6
    assert said.count("stayed") >= 1


def test_the_page_warns_of_what_matters(page: Page) -> None:
    said = page.text("summary")
    assert "pretrain is not for commercial use: books is cc-by-nc-4.0" in said
    assert "samples begin with “a lighthouse keeper counts the”: the template has collapsed" in said
    assert "hold items of benchmark" in said
    assert "which gas do plants take up from air" in page.text("contamination")


def test_openings_are_those_of_the_table(plan: Plan, page: Page) -> None:
    first = pl.read_csv(plan.out / "openings.csv").row(0, named=True)
    row = page.rows["openings"][1]
    assert row[:2] == ["books", first["opening"]]
    assert int(row[2]) / first["samples"] == pytest.approx(first["share"], abs=1e-4)


def test_pictures_of_packing_count_every_row(plan: Plan, page: Page) -> None:
    rows = (plan.targets[0].shards.manifest or {})["splits"]["train"]["rows"]
    tables = page.rows["outputs"]
    fill = [numbers(row[2:])[0] for row in tables if len(row) == 3 and row[0].endswith("%")]
    start = next(n for n, row in enumerate(tables) if row == ["documents", "rows"])
    documents = [numbers(row[1:])[0] for row in tables[start + 1 :] if len(row) == 2]
    assert sum(fill) == sum(documents) == rows


def test_links_lead_to_files_of_the_build(plan: Plan, page: Page) -> None:
    links = [link for link in page.links() if not link.startswith("#")]
    assert len(links) > 6
    for link in links:
        assert (plan.out / "report" / link).is_file(), link
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert {link[1:] for link in page.links() if link.startswith("#")} <= ids


def test_nothing_is_fetched_and_only_our_script_may_run(page: Page) -> None:
    (policy,) = [
        a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.inside[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert page.counts["script"] == page.counts["style"] == page.counts["h1"] == 1
    assert not {"img", "iframe", "object", "embed", "link", "base"} & set(page.counts)
    for _, attributes in page.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("style", "src")
        ]
        assert "//" not in attributes.get("href", "")


def test_hostile_text_is_shown_and_does_nothing(page: Page) -> None:
    source, said = page.source, page.text("rejected") + page.text("duplicates")
    assert "</script><script>document.title = 'owned'</script><img src=x" in said
    assert "left ⟨U+202E⟩ right ⟨U+2066⟩ marks" in said
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069]", source)
    assert len(source) < 400_000
    assert "owned'</script>" not in source
    assert page.counts["b"] == page.counts["img"] == 0


def test_what_cannot_be_seen_is_named() -> None:
    assert visible("a\u202eb\x00c\r\nd\te") == "a⟨U+202E⟩b⟨U+0000⟩c\nd\te"
    assert visible("\u2066\ufeff\u2028") == "⟨U+2066⟩⟨U+FEFF⟩⟨U+2028⟩"
    assert visible("नमस्ते 👩‍🚀 שלום") == "नमस्ते 👩‍🚀 שלום"


def test_secrets_in_addresses_are_left_out(plan: Plan, page: Page) -> None:
    assert "user:secret@" in str(plan.recipe.engine.endpoints)
    assert "secret" not in page.source
    assert "secret" not in (plan.out / "recipes" / f"{plan.recipe.name}.yaml").read_text()
    assert "http://127.0.0.1" in page.text("recipe")


def test_a_page_that_is_up_to_date_stays_and_an_old_one_is_made_again(plan: Plan) -> None:
    path = write_page(plan.out)
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    write_page(plan.out)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(
        content.replace(b'"shardmill-build" content="', b'"shardmill-build" content="0')
    )
    write_page(plan.out)
    assert path.read_bytes() == content


def test_the_command_makes_the_page_of_what_lies_in_a_folder(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "moved here"
    shutil.copytree(plan.out, out)
    shutil.rmtree(out / "report", ignore_errors=True)
    command = [sys.executable, "-m", "flows", "report", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"report: {(out / 'report' / 'index.html').as_uri()}"
    source = plan.sources[0].samples.folder.relative_to(plan.out)
    shutil.rmtree(out / "report")
    (out / source / "part-00001.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(DamagedPart, match="part-00001"):
        write_page(out)
    with pytest.raises(SourceError, match="holds no recipe"):
        write_page(tmp_path)


def test_axes_of_small_figures_have_decimals_and_those_of_large_ones_units() -> None:
    for top, shown, wrong in ((1, ">0.5<", "m<"), (12_000, ">8k<", ">8000<")):
        values = [{"from": 0, "to": 1, "rows": top}, {"from": 1, "to": 2, "rows": 0}]
        picture = charts.bars(values, [("rows", "red")], "x", "y", "Rows.")
        assert shown in picture
        assert wrong not in picture


def test_speed_over_time_is_kept_in_few_steps() -> None:
    line = Timeline()
    for second in range(1000):
        line.add(second + 0.5, 10)
    assert len(line.steps) <= STEPS
    assert line.seconds == 8
    assert sum(requests for requests, _ in line.steps) == 1000
    assert line.steps[0] == (8, 80)
    assert line.steps[-1] == (8, 80)


def test_a_build_keeps_how_fast_it_went(plan: Plan, page: Page) -> None:
    (kept,) = [
        json.loads(p.read_bytes()) for p in (plan.out / "completions").glob("account-*.json")
    ]
    assert sum(requests for requests, _ in kept["timeline"]["steps"]) == 120
    rows = page.rows["generation"][1:]
    assert sum(int(row[1]) for row in rows) == 120
    assert sum(numbers(row[2:3])[0] for row in rows) == 120 * 30
