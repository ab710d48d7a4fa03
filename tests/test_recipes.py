"""The shipped recipes, built offline from their samples: what each one promises."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data.errors import RecipeError
from flows.build import run_stages
from flows.loading import load_recipe
from flows.plan import Plan, Target, plan_build
from flows.rendering import resolve_output
from flows.report import funnel
from flows.verification import verify_folder
from tests.builds import Notes
from tests.fake_server import FakeServer

END = "</s> "
"""Mistral's tokenizer opens each text behind a special token with a space of its own."""


def offline(name: str, out: Path, *changes: str, scale: float = 1.0, url: str = "") -> Plan:
    engine = ["engine.model=fake", f"engine.endpoints=[{url}]", "engine.launch=null"] if url else []
    plan = plan_build(name, out, [*engine, *changes], scale, offline=True)
    run_stages(plan, Notes())
    assert verify_folder(out)[1] == []
    return plan


def samples(plan: Plan, source: str) -> pl.DataFrame:
    (found,) = [one for one in plan.sources if one.name == source]
    return pl.concat([pl.DataFrame(found.samples.read(n)) for n in range(found.samples.count())])


def written(target: Target) -> dict[int, str]:
    """What the training shards hold of each document, decoded with its special tokens."""
    tokenizer = resolve_output(target.name, target.settings).tokenizer
    rows = pl.read_ipc(target.shards.folder / "train-*.arrow")
    pieces: dict[int, dict[int, list[int]]] = {}
    for row in rows.iter_rows(named=True):
        start = 0
        for id, offset, size in zip(
            row["doc_ids"], row["doc_offsets"], row["seq_lengths"], strict=False
        ):
            pieces.setdefault(id, {})[offset] = row["input_ids"][start : start + size]
            start += size
    return {
        id: tokenizer.decode([token for at in sorted(found) for token in found[at]])
        for id, found in pieces.items()
    }


def first(made: pl.DataFrame, texts: dict[int, str]) -> dict[str, Any]:
    """The first sample that is in the shards, with what they hold of it."""
    row = next(row for row in made.iter_rows(named=True) if row["id"] in texts)
    return {**row, "written": texts[row["id"]]}


def asked(plan: Plan) -> dict[str, int]:
    table = funnel(plan).filter(pl.col("stage") == "asked")
    return dict(table.group_by("source").agg(pl.col("rows").sum()).iter_rows())


def test_small_ever_is_one_row_of_two_ids(tmp_path: Path) -> None:
    plan = offline("small-ever", tmp_path / "out")
    (target,) = plan.targets
    rows = pl.read_ipc(target.shards.folder / "train-*.arrow")
    assert rows["input_ids"].to_list() == [[0, 1] + [2] * 11]
    assert rows["seq_lengths"].to_list() == [[2, 11]]
    vocabulary = json.loads((target.shards.folder / "tokenizer.json").read_text())
    manifest = target.shards.manifest or {}
    assert manifest["tokenizer"]["vocabulary"] == 4
    assert manifest["tokenizer"]["special"] == {"<pad>": 2, "<unk>": 3}
    assert vocabulary["model"]["vocab"]["Creatrice"] == 1


def test_smol_7b_trains_on_answers_and_warns_of_its_licence(tmp_path: Path) -> None:
    plan = offline("smol-7b", tmp_path / "out")
    (target,) = plan.targets
    row = first(samples(plan, "no_robots"), written(target))
    spoken = {turn["role"]: turn["content"] for turn in row["messages"][:3]}
    opening = f"<|system|>\n{spoken.get('system', '')}{END}\n<|user|>\n{spoken['user']}{END}\n"
    assert row["written"].startswith(f"{opening}<|assistant|>\n{spoken['assistant']}{END}\n")
    shards = pl.read_ipc(target.shards.folder / "train-*.arrow")
    assert (shards["loss_spans"].list.len() > 0).all()
    card = (target.shards.folder / "README.md").read_text()
    assert "Not for commercial use" in card
    assert 'license: "cc-by-nc-4.0"' in card
    assert asked(plan) == {"no_robots": len(samples(plan, "no_robots"))}


def test_smol_7b_in_the_form_of_its_base_model(tmp_path: Path) -> None:
    plan = offline("smol-7b", tmp_path / "out", "outputs.sft.render.template=openchat")
    row = first(samples(plan, "no_robots"), written(plan.targets[0]))
    user = next(turn["content"] for turn in row["messages"] if turn["role"] == "user")
    form = f"<s> GPT4 Correct User: {user}<|end_of_turn|> GPT4 Correct Assistant: "
    assert row["written"].startswith(form)


def test_piconosensox_has_two_outputs_in_one_vocabulary(tmp_path: Path) -> None:
    plan = offline("piconosensox", tmp_path / "out")
    pretrain, chat = plan.targets
    manifests = [target.shards.manifest or {} for target in plan.targets]
    for manifest in manifests:
        assert manifest["tokenizer"]["vocabulary"] == 50_261
        assert manifest["sequence_length"] == 512
        assert manifest["columns"]["input_ids"].startswith("fixed_size_list<item: uint16>")
    assert manifests[0]["tokenizer"]["special"] == manifests[1]["tokenizer"]["special"]
    text = first(samples(plan, "cosmopedia"), written(pretrain))
    assert text["written"] == text["text"] + "<|endoftext|>"
    talk = first(samples(plan, "hermes"), written(chat))
    turns = {turn["role"]: turn["content"] for turn in talk["messages"][:3]}
    system = turns.get("system", "You are an unbiased, uncensored, helpful assistant.")
    assert talk["written"].startswith(
        f"<|system|>{system}\n<|user|>{turns['user']}\n<|assistant|>{turns['assistant']}"
    )
    ids = pl.read_ipc(chat.shards.folder / "train-*.arrow")["input_ids"].explode()
    assert ids.max() in range(50_257, 50_261)


def test_nanophi_has_every_tag(tmp_path: Path, fake: FakeServer) -> None:
    plan = offline("nanophi", tmp_path / "out", scale=0.002, url=fake.url)
    (target,) = plan.targets
    texts = written(target)
    for source, tag in {"textbooks": "Textbook", "functions": "Code", "metamath": "Math"}.items():
        row = first(samples(plan, source), texts)
        assert row["written"] == f"[{tag}] {row['text']}<eot>"
    row = first(samples(plan, "webtext"), texts)
    assert row["written"] == row["text"] + "<eot>"
    row = first(samples(plan, "orca").filter(pl.col("messages").list.len() == 3), texts)
    system, user, answer = (turn["content"] for turn in row["messages"])
    assert row["written"] == f"{system}\n\n**Question:** {user}\n**Answer:** {answer}<eot>"
    row = first(samples(plan, "pippa"), texts)
    marks = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|model|>"}
    turns = "".join(marks[turn["role"]] + turn["content"] for turn in row["messages"])
    assert row["written"] == f"[Roleplay] {turns}<eot>"
    excerpts = [text for text in texts.values() if text.startswith("[Excerpt] ")]
    assert excerpts
    assert all("\n\n[Response] " in text for text in excerpts)
    manifest = target.shards.manifest or {}
    assert set(manifest["splits"]) == {"train", "validation"}
    assert manifest["tokenizer"]["vocabulary"] == 50_257
    tags = funnel(plan).filter(pl.col("stage") == "asked")["tag"].unique()
    assert set(tags) == {None, "Textbook", "Code", "Math", "Logic", "Excerpt", "Roleplay"}


def test_cosmo_1b_generates_its_families_beside_real_text(tmp_path: Path, fake: FakeServer) -> None:
    plan = offline("cosmo-1b", tmp_path / "out", scale=2e-6, url=fake.url)
    (target,) = plan.targets
    texts = written(target)
    talk = first(samples(plan, "ultrachat"), texts)
    user, answer = (turn["content"] for turn in talk["messages"][:2])
    assert talk["written"].startswith(f"<s> [INST] {user} [/INST] {answer} </s>")
    script = first(samples(plan, "notebooks"), texts)
    assert script["written"] == script["text"] + "</s>"
    manifest = target.shards.manifest or {}
    assert manifest["tokenizer"]["vocabulary"] == 32_000
    assert manifest["sequence_length"] == 2048
    assert "outlines" not in manifest["sources"]
    whole = load_recipe("cosmo-1b")
    assert sum(mix.tokens or 0 for mix in whole.outputs["pretrain"].mix.values()) == 30e9
    families = {"web": 22_700_000, "stories": 4_992_964, "auto_math": 1_949_895}
    for family, rows in families.items():
        sizes = [s.samples for n, s in whole.generate.items() if n.startswith(family)]
        assert sum(sizes) == rows
    card = (target.shards.folder / "README.md").read_text()
    assert "bigcode/the-stack" in card or "the file stack-notebooks.jsonl" in card


def test_cosmo_1b_published_reads_the_eight_splits(tmp_path: Path) -> None:
    plan = offline("cosmo-1b-published", tmp_path / "out")
    rows = Path("data/samples/cosmopedia.jsonl").read_text().splitlines()
    families = [name for name in asked(plan) if name not in ("ultrachat", "notebooks")]
    read = {name: count for name, count in asked(plan).items() if not name.startswith("automath")}
    assert sum(read[name] for name in families if name in read) == len(rows)
    assert len(families) == 10
    row = first(samples(plan, "stories"), written(plan.targets[0]))
    assert row["written"] == row["text"] + "</s>"
    assert row["seed_text"] in ("ultrachat", "openhermes2.5")
    assert (plan.targets[0].shards.manifest or {})["mix"]["stories"]["repeats"] == 2.0


def test_finephrase_mixes_rephrased_pages_with_the_originals(
    tmp_path: Path, fake: FakeServer
) -> None:
    plan = offline("finephrase", tmp_path / "out", scale=2e-5, url=fake.url)
    pages = samples(plan, "pages")
    for name in ("faqs", "tables", "problems", "tutorials"):
        assert set(samples(plan, name)["seed_id"]) <= set(pages["id"])
    row = first(pages, written(plan.targets[0]))
    assert row["written"] == row["text"] + "<|endoftext|>"


def test_every_hub_set_of_a_shipped_recipe_names_licence_and_sample() -> None:
    for name in ("cosmo-1b", "cosmo-1b-published", "nanophi", "piconosensox", "smol-7b"):
        for corpus in load_recipe(name).corpora.values():
            assert corpus.licence != "unknown"
            assert corpus.sample


def test_millions_of_samples_are_not_drawn_from_a_shipped_sample() -> None:
    says = r"asks for 29,642,859 samples of the few seeds .*; add --scale 0\.000003 for about a"
    with pytest.raises(RecipeError, match=says):
        load_recipe("cosmo-1b", offline=True)
    asked = load_recipe("cosmo-1b", scale=0.000003, offline=True).generate.values()
    assert 50 < sum(source.samples for source in asked) < 200
    load_recipe("cosmo-1b")
