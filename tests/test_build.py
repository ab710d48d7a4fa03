"""A whole build against a server whose replies depend on the request alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from aiohttp import web

from data.errors import EngineError, ShardmillError, SourceError
from data.tokenization import load_tokenizer
from flows.build import run_stages
from flows.plan import plan_build
from flows.report import funnel
from flows.stages import Work
from tests.builds import Notes, build, digests
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def documents(shards: Path) -> dict[int, str]:
    """Text of each document in the train rows, put together from its fragments."""
    tokenizer = load_tokenizer("gpt2")
    pieces: dict[int, dict[int, list[int]]] = {}
    for row in pl.scan_ipc(shards / "*.arrow").collect().iter_rows(named=True):
        start = 0
        ends = zip(row["doc_ids"], row["doc_offsets"], row["seq_lengths"], strict=False)
        for id, offset, length in ends:
            pieces.setdefault(id, {})[offset] = row["input_ids"][start : start + length]
            start += length
    return {
        id: tokenizer.decode([token for at in sorted(parts) for token in parts[at]])
        for id, parts in pieces.items()
    }


def test_shards_decode_to_what_the_model_wrote(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    plan = build(write_recipe(fake.url), tmp_path / "out")
    assert fake.requests == 50
    found = documents(plan.targets[0].shards.folder)
    samples = pl.concat(
        [pl.read_parquet(s.samples.folder / "part-*.parquet") for s in plan.sources]
    )
    expected = {
        row["id"]: f"[{row['tag']}] {row['text']}<|endoftext|>"
        for row in samples.iter_rows(named=True)
    }
    assert len(found) == 50
    assert found == expected


def test_the_manifest_counts_what_polars_counts(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    shards = build(write_recipe(fake.url), tmp_path / "out").targets[0].shards
    manifest = shards.manifest or {}
    for split, said in manifest["splits"].items():
        rows = pl.scan_ipc(shards.folder / f"{split}-*.arrow").collect()
        assert said["rows"] == len(rows)
        assert said["tokens"] == rows["n_tokens"].sum()
        assert said["fill"] == pytest.approx(rows["n_tokens"].sum() / (128 * len(rows)), abs=1e-6)
        assert (rows["seq_lengths"].list.sum() == 128).all()
        assert said["documents"] == rows["doc_ids"].explode().n_unique()
    assert manifest["splits"]["validation"]["documents"] > 0


def test_a_second_build_asks_nothing_and_changes_no_file(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    build(recipe, out)
    before = digests(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if "logs" not in path.parts}
    plan = build(recipe, out)
    assert plan.done
    assert fake.requests == 50
    assert digests(out) == before
    assert times == {p: p.stat().st_mtime_ns for p in out.rglob("*") if "logs" not in p.parts}


def run_threads(name: str, work: Work, indices: Sequence[int]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, indices))


def test_shards_do_not_depend_on_part_size_threads_or_order_of_arrival(
    write_recipe: Write, tmp_path: Path
) -> None:
    with FakeServer() as quick:
        plain = build(write_recipe(quick.url), tmp_path / "plain")
    with FakeServer(delay=0.01) as slow, FakeServer() as other:
        recipe = write_recipe(slow.url, other.url, name="small")
        plan = plan_build(str(recipe), tmp_path / "mixed", ["part_rows=3", "engine.concurrency=3"])
        run_stages(plan, Notes(), run_threads)
    shards = [digests(p.targets[0].shards.folder) for p in (plain, plan)]
    for found in shards:
        found.pop("README.md", None)
        found.pop("manifest.json")
    assert shards[0] == shards[1]


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ("generate.books.samples=40", 10),
        ("generate.books.samples=10", 0),
        ("engine.sampling.temperature=0.1", 50),
        ("generate.sums.sampling.temperature=0.1", 20),
        ("curate.0.length.min_tokens=50", 0),
        ("outputs.pretrain.sequence_length=64", 0),
        ("engine.concurrency=2", 0),
        ("part_rows=5", 0),
    ],
)
def test_a_change_asks_only_for_what_it_makes_new(
    fake: FakeServer, write_recipe: Write, tmp_path: Path, change: str, asked: int
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    build(recipe, out)
    build(recipe, out, change)
    assert fake.requests == 50 + asked
    assert max(fake.asked.values()) == 1


def test_editing_a_late_filter_leaves_the_earlier_verdicts(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    first = build(recipe, out)
    other = build(recipe, out, "curate.1.repetition.max_share=0.01")
    hashes = [[step.verdicts.hash for step in plan.steps] for plan in (first, other)]
    assert hashes[0][0] == hashes[1][0]
    assert hashes[0][1] != hashes[1][1]
    assert hashes[0][2] != hashes[1][2]


def test_the_funnel_adds_up_and_names_every_reason(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    plan = build(
        write_recipe(fake.url), tmp_path / "out", "curate.0.length.min_tokens=120", "part_rows=7"
    )
    table = funnel(plan)
    rows = dict(table.group_by("stage").agg(pl.col("rows").sum()).iter_rows())
    assert rows["asked"] == 50
    assert rows["1 length"] > 0
    assert rows["kept"] == 50 - rows["1 length"]
    assert set(table.filter(pl.col("stage") == "1 length")["reason"]) == {"too_short"}
    assert len(documents(plan.targets[0].shards.folder)) == rows["kept"]
    csv = pl.read_csv(plan.out / "funnel.csv")
    assert csv["rows"].to_list() == table["rows"].to_list()


def test_a_damaged_part_is_made_again_without_asking(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    plan = build(recipe, out)
    before = digests(out)
    for stage in (plan.generated[0].completions, plan.sources[1].samples):
        path = stage.file(1)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (plan.targets[0].shards.folder / "manifest.json").unlink()
    (plan.targets[0].tokens.folder / "manifest.json").unlink()
    for path in plan.targets[0].tokens.folder.glob("*.arrow"):
        path.unlink()
    plan = build(recipe, out)
    assert fake.requests == 50
    assert plan.sources[1].samples.read(1).num_rows == 8
    now = digests(out)
    damaged = str(plan.generated[0].completions.file(1).relative_to(out))
    assert {name for name in before if now[name] != before[name]} <= {damaged}


def refuse_first(body: dict[str, object], before: int) -> web.Response | None:
    """Every third request is refused for good, every fourth fails once."""
    seed = int(str(body["seed"]))
    if seed % 3 == 0:
        return web.json_response({"error": {"message": "prompt too long: 9999"}}, status=400)
    if seed % 4 == 0 and not before:
        return web.Response(status=503, headers={"Retry-After": "0"})
    return None


def test_a_refused_row_is_rejected_with_the_servers_words(
    write_recipe: Write, tmp_path: Path
) -> None:
    with FakeServer(fault=refuse_first) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        plan = build(recipe, out, "engine.max_error_share=1")
        asked = server.requests
        build(recipe, out, "engine.max_error_share=1")
        assert server.requests == asked
    verdicts = pl.concat(
        [pl.read_parquet(s.samples.folder / "verdicts-*.parquet") for s in plan.sources]
    )
    refused = verdicts.filter(pl.col("reason") == "server_refused")
    assert 5 < len(refused) < 30
    assert all("prompt too long: 9999" in figures for figures in refused["figures"])
    asked_rows = funnel(plan).filter(pl.col("stage") == "asked")["rows"].sum()
    assert asked_rows == 50


def test_a_server_with_another_model_is_named(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="serves fake, not llama"):
        build(write_recipe(fake.url), tmp_path / "out", "engine.model=llama")


def test_no_server_at_the_endpoint_is_named(write_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"127.0.0.1:9/v1: does not answer"):
        build(write_recipe(), tmp_path / "out")


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("", "holds no seeds"),
        ('{"topic": "a", "category": "b"}\n', r"seeds.jsonl:1: the seed lacks 'focus'"),
        ('{"topic": 5, "category": "b", "focus": ["c"]}\n', "the seed has no text as 'topic'"),
        ('{"topic": "a", "category": "b", "focus": "c"}\n', "has no list of texts .* as 'focus'"),
        ('{"topic": "a"}\nnot json\n', r"seeds.jsonl:2: is not JSON"),
        ("[1]\n", r"seeds.jsonl:1: is not a JSON object"),
    ],
)
def test_wrong_seeds_stop_the_build_before_a_request(
    fake: FakeServer, write_recipe: Write, tmp_path: Path, lines: str, says: str
) -> None:
    (tmp_path / "seeds.jsonl").write_text(lines)
    recipe = write_recipe(
        fake.url, change=lambda r: r["generate"]["books"].update(seeds={"file": "seeds.jsonl"})
    )
    with pytest.raises(SourceError, match=says):
        build(recipe, tmp_path / "out")
    assert fake.requests == 0


def test_seeds_are_drawn_again_with_other_text_when_samples_exceed_them(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    seed = {"topic": "a", "category": "b", "focus": ["c"]}
    (tmp_path / "seeds.jsonl").write_text(json.dumps(seed) + "\n")
    recipe = write_recipe(
        fake.url,
        change=lambda r: r["generate"]["books"].update(
            seeds={"file": "seeds.jsonl"}, samples=5, per_prompt=3
        ),
    )
    plan = build(recipe, tmp_path / "out")
    texts = pl.read_parquet(plan.sources[0].samples.folder / "part-*.parquet")["text"]
    assert texts.n_unique() == 5


def test_everything_rejected_still_gives_a_manifest(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    plan = build(write_recipe(fake.url), tmp_path / "out", "curate.0.length.min_tokens=9999")
    manifest = plan.targets[0].shards.manifest or {}
    assert manifest["splits"]["train"]["documents"] == 0
    assert pl.scan_ipc(plan.targets[0].shards.folder / "train-*.arrow").collect().height == 0


def test_a_killed_build_resumes_to_the_bytes_of_a_clean_one(
    write_recipe: Write, tmp_path: Path
) -> None:
    answers = 120

    def more(recipe: dict[str, dict[str, dict[str, int]]]) -> None:
        recipe["generate"]["books"]["samples"] = 150
        recipe["generate"]["sums"]["samples"] = 50
        recipe.update(part_rows=40)  # type: ignore[call-overload]

    with FakeServer() as server:
        recipe = write_recipe(server.url, change=more, name="clean")
        clean = build(recipe, tmp_path / "clean")
    with FakeServer(delay=0.02) as server:
        recipe = write_recipe(server.url, change=more, name="killed")
        recipe.write_text(recipe.read_text().replace("name: killed", "name: clean"))
        out = tmp_path / "killed"
        changes = ["engine.concurrency=8"]
        process = start_with(recipe, out, changes)
        deadline = time.monotonic() + 60
        while sum(server.answered.values()) < answers and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        answered = sum(server.answered.values())
        assert answers <= answered < 200
        assert start_with(recipe, out, changes).wait(120) == 0
        again = sum(server.asked.values()) - 200
        assert 0 <= again <= 8 + 8  # in flight at the kill, and one group not yet on disk
        assert len(server.asked) == 200
    assert digests(out / "shards") == digests(clean.out / "shards")


def start_with(recipe: Path, out: Path, changes: list[str]) -> "subprocess.Popen[bytes]":
    sets = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-m", "flows", "run", str(recipe), "--out", str(out), *sets]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_a_defect_in_the_sums_of_the_funnel_is_noticed(
    fake: FakeServer, write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = build(write_recipe(fake.url), tmp_path / "out")
    original = type(plan.steps[0].verdicts).read

    def doubled(self, index, table="part", **settings):  # type: ignore[no-untyped-def]
        found = original(self, index, table, **settings)
        if table == "verdicts":
            id = original(self, index).column("id")[0].as_py()
            row = {"id": id, "filter": "x", "reason": "x", "figures": ""}
            return pa.Table.from_pylist([row, row], schema=found.schema)
        return found

    monkeypatch.setattr(type(plan.steps[0].verdicts), "read", doubled)
    with pytest.raises(ShardmillError, match="does not add up"):
        funnel(plan)
