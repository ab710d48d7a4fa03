"""What a crash, a careless user or an odd server leaves behind is named and mended."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from data.errors import RecipeError
from flows.loading import load_recipe
from flows.verification import drop_wrong, verify_folder
from tests.builds import build, digests
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_part_cut_in_half_is_mended(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    plan = build(recipe, out)
    before = digests(out / "shards")
    for stage in (plan.generated[0].prompts, plan.sources[0].samples, plan.steps[2].verdicts):
        halve(stage.file(1))
    build(recipe, out)
    assert digests(out / "shards") == before
    assert fake.requests == 50


def forge(path: Path) -> None:
    """A valid file of another content."""
    pl.DataFrame({"id": [1], "text": ["CORRUPTED CONTENT"]}).write_parquet(path)


FILES = [
    "stages/seeds.*/part-00000.arrow",
    "stages/prompts.books-*/part-00001.parquet",
    "stages/prompts.books-*/digests-00001.parquet",
    "stages/completions.books-*/part-00001.parquet",
    "stages/samples.books-*/part-00001.parquet",
    "stages/samples.books-*/verdicts-00001.parquet",
    "stages/verdicts.1*/part-00001.parquet",
    "stages/verdicts.3*/part-00001.parquet",
    "stages/tokens.*/part-00001.arrow",
    "stages/samples.books-*/manifest.json",
    "stages/tokens.*/manifest.json",
    "shards/pretrain/train-00000-of-00001.arrow",
    "shards/pretrain/manifest.json",
    "shards/pretrain/README.md",
    "funnel.csv",
    "openings.csv",
]


@pytest.mark.parametrize("harm", [flip, forge], ids=lambda h: h.__name__)
@pytest.mark.parametrize("pattern", FILES)
def test_harm_to_any_file_is_mended_without_a_request(
    fake: FakeServer,
    write_recipe: Write,
    tmp_path: Path,
    pattern: str,
    harm: Callable[[Path], None],
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    build(recipe, out)
    (out / "estimate.json").unlink()  # of the build at hand: this one asks for nothing
    before = {k: v for k, v in digests(out).items() if "completions" not in k}
    harm(next(iter(sorted(out.glob(pattern)))))
    drop_wrong(verify_folder(out)[1])
    build(recipe, out)
    (out / "estimate.json").unlink(missing_ok=True)
    after = {k: v for k, v in digests(out).items() if "completions" not in k}
    assert after == before
    assert fake.requests == 50
    assert verify_folder(out)[1] == []


def test_two_damaged_parts_are_both_made_again(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(fake.url), tmp_path / "out"
    plan = build(recipe, out)
    before = digests(out / "shards")
    for index in (0, 2):
        flip(plan.sources[0].samples.file(index))
    (plan.targets[0].tokens.folder / "manifest.json").unlink()
    for path in plan.targets[0].tokens.folder.glob("*.arrow"):
        path.unlink()
    build(recipe, out)
    assert digests(out / "shards") == before
    assert verify_folder(out)[1] == []


def test_lost_verdicts_of_the_first_and_the_third_filter_add_up_again(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    def three(recipe: dict[str, Any]) -> None:
        repetition = {"repetition": {"ngram": 2, "max_share": 0.0}}
        recipe["curate"] = [
            {"length": {"min_tokens": 120}},
            repetition,
            {"length": {"min_tokens": 150}},
        ]

    recipe, out = write_recipe(fake.url, change=three), tmp_path / "out"
    plan = build(recipe, out)
    before = digests(out / "shards")
    for step in (plan.steps[0], plan.steps[2]):
        step.verdicts.file(1).unlink()
    build(recipe, out)
    assert digests(out / "shards") == before


def reply(**fields: Any) -> web.Response:
    choice = {"message": {"content": fields.get("content", "ok")}, "finish_reason": "stop"}
    choice |= {key: value for key, value in fields.items() if key == "finish_reason"}
    usage = fields.get("usage", {"prompt_tokens": 1, "completion_tokens": 1})
    return web.Response(text=json.dumps({"choices": [choice], "usage": usage}))


ODD: dict[str, Callable[[], web.Response]] = {
    "content a list": lambda: reply(content=[{"type": "text", "text": "x"}]),
    "content a number": lambda: reply(content=5),
    "finish_reason a number": lambda: reply(finish_reason=5),
    "huge token count": lambda: reply(usage={"prompt_tokens": 10**12, "completion_tokens": 1}),
    "no choices": lambda: web.json_response({"choices": []}),
}


@pytest.mark.parametrize("name", ODD)
def test_a_reply_of_odd_types_costs_its_row_and_poisons_nothing(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("inference.retries.LONGEST_PAUSE", 0.02)
    odd_seeds: set[int] = set()

    def fault(body: dict[str, Any], before: int) -> Any:
        if body["seed"] % 20:
            return None
        odd_seeds.add(body["seed"])
        return ODD[name]()

    with FakeServer(fault=fault) as server:
        plan = build(write_recipe(server.url), tmp_path / "out", "engine.max_error_share=1")
    verdicts = [pl.read_parquet(s.samples.folder / "verdicts-*.parquet") for s in plan.sources]
    assert len(pl.concat(verdicts)) == len(odd_seeds) > 0


@pytest.mark.parametrize(
    ("text", "usage"),
    [("a \ud800 b " * 40, None), ("\x00 NUL " * 40, {}), ("<|endoftext|> in text " * 20, None)],
)
def test_odd_text_is_kept_as_text(
    write_recipe: Write, tmp_path: Path, text: str, usage: dict[str, int] | None
) -> None:
    def fault(body: dict[str, Any], before: int) -> Any:
        return reply(content=f"{body['seed']} {text}?", usage=usage)

    def books(recipe: dict[str, Any]) -> None:
        del recipe["generate"]["sums"]
        recipe["curate"] = []

    with FakeServer(fault=fault) as server:
        plan = build(write_recipe(server.url, change=books), tmp_path / "out")
    rows = pl.scan_ipc(plan.targets[0].shards.folder / "train-*.arrow").collect()
    ends = rows["input_ids"].explode().eq(50256).sum()
    padding = rows.height * 128 - rows["n_tokens"].sum()
    documents = (plan.targets[0].shards.manifest or {})["splits"]["train"]["documents"]
    assert ends == documents + padding


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("curate=[{length: 5}]", "length takes a mapping of knobs, not 5"),
        ("curate.9.length=3", "there is no item '9'"),
        ("curate.x=3", "there is no item 'x'"),
        ("curate.²=1", "there is no item"),
        ("name=2024-13-45", "not YAML"),
        ("engine.sampling.temperature=.inf", "finite number"),
        ("engine.sampling.max_tokens=100000000000000000000", "less than or equal"),
        ('engine.licence="\\ud800"', "not YAML"),
        ("outputs.pretrain.mix={books: {repeat: 1.0e+15}}", "less than or equal"),
        ("outputs.pretrain.validation=.nan", "finite number"),
        ("curate=[{length: {only: [nosuch]}}]", "names no source or tag: 'nosuch'"),
        ("curate=[{length: {min_tokens: 9, max_tokens: 3}}]", "max_tokens is below min_tokens"),
        ("engine.model.x=1", "'model' holds no keys"),
        ("generate.books.seeds.file=" + "x" * 5000, "does not exist"),
        ("generate.books.vary={words: [yes]}", "words"),
    ],
)
def test_odd_settings_are_one_line(write_recipe: Write, change: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(write_recipe()), [change])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused(write_recipe: Write) -> None:
    path = write_recipe()
    path.write_text(path.read_text() + "seed: 1\nseed: 2\n")
    with pytest.raises(RecipeError, match="the key 'seed' stands twice"):
        load_recipe(str(path))


def test_numbers_can_be_varied(fake: FakeServer, write_recipe: Write, tmp_path: Path) -> None:
    plan = build(
        write_recipe(fake.url), tmp_path / "out", "generate.books.vary={words: [100, 200]}"
    )
    prompts = pl.read_parquet(plan.generated[0].prompts.folder / "part-*.parquet")
    assert {json.loads(knobs)["words"] for knobs in prompts["knobs"]} == {100, 200}


@pytest.mark.parametrize(("repeat", "times"), [(2.5, (2, 3)), (0.5, (0, 1)), (0, (0, 0))])
def test_repeats_count_in_training_and_never_twice_in_validation(
    fake: FakeServer, write_recipe: Write, tmp_path: Path, repeat: float, times: tuple[int, int]
) -> None:
    mix = f"outputs.pretrain.mix={{books: {{repeat: {repeat}}}, sums: {{}}}}"
    plan = build(write_recipe(fake.url), tmp_path / "out", mix, "outputs.pretrain.validation=0.3")
    folder = plan.targets[0].shards.folder
    for split, allowed in (("train", times), ("validation", (0, 1) if not repeat else (1, 1))):
        rows = pl.scan_ipc(folder / f"{split}-*.arrow").collect()
        whole = rows.select(
            id=pl.col("doc_ids"), at=pl.col("doc_offsets"), source=pl.col("source_ids")
        ).explode("id", "at", "source")
        books = whole.filter(pl.col("source") == 0, pl.col("at") == 0)
        counts = books.group_by("id").len()["len"]
        assert all(allowed[0] <= count <= max(allowed) for count in counts)
        assert (len(counts) == 0) == (repeat == 0)


def test_the_endpoints_key_is_sent_and_a_refusal_is_named(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(body: dict[str, Any], before: int) -> Any:
        return web.json_response({"error": {"message": "no such key"}}, status=401)

    with (
        FakeServer(fault=locked) as server,
        pytest.raises(Exception, match=r"refuses requests .*401: no such key"),
    ):
        build(write_recipe(server.url), tmp_path / "out")


def test_a_server_may_name_a_local_model_by_its_folder(write_recipe: Write, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with FakeServer(model=str(folder)) as server:
        plan = build(write_recipe(server.url), tmp_path / "out", f"engine.model={folder}")
        assert {body["model"] for body in server.bodies} == {str(folder)}
    assert plan.model.name == "weights"


def test_paths_with_brackets_and_spaces_work(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    out = tmp_path / "out [bold]x [/a]"
    build(write_recipe(fake.url), out)
    for command in ("inspect", "verify"):
        shown = subprocess.run(
            [sys.executable, "-m", "flows", command, str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
    assert "[bold]x" in shown.stdout or "files are" in shown.stdout


def test_shards_without_rows_can_be_inspected(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    build(write_recipe(fake.url), out, "curate.0.length.min_tokens=9999")
    shown = subprocess.run(
        [sys.executable, "-m", "flows", "inspect", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "train: 0 rows" in shown.stdout
