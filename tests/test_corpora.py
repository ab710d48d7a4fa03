"""Corpora: rows of files and hub sets as samples, beside generated ones or alone."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from data import ROOT
from data.errors import RecipeError, SourceError
from data.mapping import REASON
from data.tables import read_file_tables
from flows.build import run_stages
from flows.corpora import read_corpus
from flows.corpus_recipe import Corpus as Corpus_
from flows.loading import load_recipe
from flows.plan import Plan, plan_build
from flows.report import funnel
from flows.seeds import read_seeds
from flows.stages import Runner
from flows.verification import verify_folder
from tests.builds import Notes, build, digests
from tests.fake_server import FakeServer

Write = Callable[..., Path]
Corpus = dict[str, Any]
TEXTS = [{"content": f"Text number {n} is about rivers and stones.", "k": n % 3} for n in range(50)]


@pytest.fixture
def read_only(tmp_path: Path) -> Callable[..., Path]:
    """A recipe without an engine: corpora alone."""

    def write(corpora: dict[str, Corpus], **more: Any) -> Path:
        output = {"tokenizer": "gpt2", "sequence_length": 64, "render": {"template": "nanophi"}}
        recipe = {"name": "read", "corpora": corpora, "outputs": {"all": output}, **more}
        path = tmp_path / "read.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return path

    return write


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def samples(plan: Plan, name: str = "") -> pl.DataFrame:
    (source,) = [source for source in plan.sources if source.name == name or not name]
    return pl.concat([pl.DataFrame(source.samples.read(n)) for n in range(source.samples.count())])


def reasons(plan: Plan) -> dict[str, int]:
    table = funnel(plan).filter(pl.col("filter") == "read")
    return dict(table.select("reason", "rows").iter_rows())


def test_a_corpus_alone_becomes_shards_without_an_engine(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    file = jsonl(tmp_path / "texts.jsonl", TEXTS)
    corpus = {
        "file": file,
        "columns": {"text": "**Number:** {k}\n\n{content} {}{k}{", "topic": "k"},
        "tag": "Textbook",
        "licence": "cc-by-nc-4.0",
        "where": {"k": [0, 1]},
        "where_not": {"content": TEXTS[1]["content"]},
    }
    path = read_only({"texts": corpus}, part_rows=7, curate=[{"exact_duplicate": {}}])
    plan = build(path, tmp_path / "out")
    made = samples(plan)
    assert made["text"][0] == f"**Number:** 0\n\n{TEXTS[0]['content']} {{}}0{{"
    assert len(made) == sum(n % 3 < 2 for n in range(50)) - 1
    assert set(made["topic"]) == {"0", "1"}
    assert set(made["tag"]) == {"Textbook"}
    assert json.loads(made["meta"][0]) == {"at": "texts.jsonl:1"}
    card = (plan.targets[0].shards.folder / "README.md").read_text()
    assert 'license: "cc-by-nc-4.0"' in card
    assert "Not for commercial use" in card
    assert "the file texts.jsonl" in card
    assert "Generated" not in card
    assert not verify_folder(tmp_path / "out")[1]


CHATS: dict[str, tuple[Corpus, list[dict[str, Any]]]] = {
    "role and content": ({}, [{"messages": [{"role": "user", "content": "Hi?"},
                                            {"role": "assistant", "content": "Yes."}]}]),
    "from and value": (
        {"columns": {"messages": "conversations"}},
        [{"conversations": [{"from": "human", "value": "Hi?", "weight": 0},
                            {"from": "gpt", "value": "Yes."}]}],
    ),
    "is_human": (
        {"columns": {"messages": "conversation"}},
        [{"conversation": [{"message": "Hi?", "is_human": True},
                           {"message": "Yes.", "is_human": False}]}],
    ),
    "single columns": (
        {"columns": {"system": "sys", "user": "q", "assistant": "{a}."}},
        [{"sys": "", "q": "Hi?", "a": "Yes"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", CHATS)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_every_form_of_a_conversation_is_one(form: str, suffix: str, tmp_path: Path) -> None:
    settings, rows = CHATS[form]
    corpus = Corpus_.model_validate({"file": "x", "as": "messages", **settings})
    path = tmp_path / f"rows.{suffix}"
    if suffix == "jsonl":
        jsonl(path, rows)
    else:
        pl.DataFrame(rows).write_parquet(path)
    (frame,) = read_file_tables(str(path), None, corpus.mapped.read)
    made = corpus.mapped.samples(frame)
    assert made["messages"].to_list() == [
        [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]
    ]
    assert made[REASON].to_list() == [None]


def turn(role: str, content: str | None) -> dict[str, str | None]:
    return {"role": role, "content": content}


def test_a_row_that_is_no_conversation_falls_with_its_reason(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    def text(content: str) -> dict[str, str]:
        return {"type": "text", "text": content}

    good = [turn("user", "a"), turn("assistant", "b")]
    rows: list[dict[str, Any]] = [
        {"messages": good, "system": "Be brief."},
        {"messages": [turn("system", ""), *good]},
        {"messages": []},
        {"messages": None},
        {"messages": [turn("narrator", "a")]},
        {"messages": [turn("user", "a"), turn("assistant", " ")]},
        {"messages": [turn("user", None), turn("assistant", "b")]},
        {"messages": "none"},
        {"messages": {"user": "a", "assistant": "b"}},
        {"messages": ["a", "b"]},
        {"messages": [{"role": "user", "content": [text("a"), text("b")]}, good[1]]},
        {"messages": [{"role": "user", "content": [text("a"), {"type": "image"}]}, good[1]]},
    ]
    file = jsonl(tmp_path / "chats.jsonl", [{"system": None, **row} for row in rows])
    with open(file, "a") as handle:
        handle.write("{broken\n")
    corpus = {"file": file, "as": "messages", "columns": {"system": "system"}, "bad_rows": "skip"}
    plan = build(read_only({"chats": corpus}), tmp_path / "out")
    assert reasons(plan) == {"no_turns": 5, "unknown_role": 1, "empty_turn": 3, "unreadable": 1}
    made = samples(plan)
    verdicts = pl.DataFrame(plan.sources[0].samples.read(0, "verdicts"))
    details = [json.loads(figures)["detail"] for figures in verdicts["figures"]]
    assert details[:2] == ["messages is an empty list", "messages is null"]
    assert details[5:9] == [
        "messages is a text: 'none'",
        "messages is an object of user, assistant",
        "messages is a list of texts: 'a'",
        "a turn has a part of type 'image', which is no text",
    ]
    assert made["messages"][10].to_list() == [turn("user", "a\nb"), good[1]]
    assert made["messages"][0].to_list()[0] == turn("system", "Be brief.")
    assert made["messages"][4].to_list() == [turn("narrator", "a")]
    both = made.select(text=pl.col("text").is_null(), turns=pl.col("messages").is_null())
    assert (both["text"] != both["turns"]).all()
    with pytest.raises(SourceError, match=r"chats.jsonl:13: is not JSON"):
        build(read_only({"chats": corpus}), tmp_path / "out", "corpora.chats.bad_rows=stop")


def test_parts_of_text_are_joined_in_columns_too(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    def parts(*given: tuple[str, str | None]) -> list[dict[str, str | None]]:
        return [{"type": kind, "text": text} for kind, text in given]

    user = [parts(("text", "a"), ("text", "b")), parts(("image", None), ("text", "c")), [], None]
    answer = {"role": "assistant", "content": parts(("text", "yes"))}
    rows = [{"messages": [{"role": "user", "content": given}, answer]} for given in user]
    pl.DataFrame(rows).write_parquet(tmp_path / "chats.parquet")
    corpus = {"file": str(tmp_path / "chats.parquet"), "as": "messages"}
    plan = build(read_only({"chats": corpus}), tmp_path / "out")
    assert reasons(plan) == {"empty_turn": 3}
    first = samples(plan)["messages"][0].to_list()
    assert first == [turn("user", "a\nb"), turn("assistant", "yes")]


def test_what_a_source_passes_over_is_said(tmp_path: Path, read_only: Callable[..., Path]) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    jsonl(folder / "a.jsonl", [{"text": f"Ice {n} floats.", "k": n % 2} for n in range(9)])
    (folder / "notes.yaml").write_text("a: 1")
    wheres = {"where": {"k": 1, "language": None}, "where_not": {"quality": "low"}}
    rows = {"file": str(folder), **wheres}
    absent = "none of the 9 rows read has 'quality', which where_not names"
    notes = Notes()
    made = samples(build(read_only({"ice": rows}), tmp_path / "a", notes=notes))
    assert len(made) == 4
    (line,) = [line for line in notes.lines if "passed over" in line]
    assert line.startswith(f"ice: {folder}: 1 file is passed over (.yaml); readable are .jsonl")
    assert f"ice: {absent}" in notes.lines
    with pytest.raises(SourceError, match=r"that where asks for; ice: none of the 9 .* 'kk'"):
        build(read_only({"ice": {**rows, "where": {"kk": 1}}}), tmp_path / "b")


def test_a_longer_limit_keeps_the_ids_and_a_cut_build_goes_on(
    tmp_path: Path, read_only: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.corpora.GROUP_PARTS", 2)
    file = tmp_path / "texts.parquet"
    pl.DataFrame([*TEXTS, TEXTS[0]]).write_parquet(file)
    corpus = {"file": str(file), "columns": {"text": "content"}, "limit": 20}
    path = read_only({"texts": corpus}, part_rows=6)
    first = samples(build(path, tmp_path / "a"))
    whole = build(path, tmp_path / "b", "corpora.texts.limit=1000")
    assert len(first) == 20
    assert samples(whole)["id"].head(20).to_list() == first["id"].to_list()
    assert samples(whole)["id"].n_unique() == 51
    stage = whole.sources[0].samples
    want = digests(stage.folder)
    asked: list[int] = []

    def watched(dies_at: int) -> Runner:
        def run(name: str, work: Callable[[int], None], indices: Sequence[int]) -> None:
            for index in indices:
                asked.append(index)
                if index == dies_at:
                    raise KeyboardInterrupt
                work(index)

        return run

    again = plan_build(str(path), tmp_path / "c", ["corpora.texts.limit=1000"])
    with pytest.raises(KeyboardInterrupt):
        read_corpus(again.read[0], 6, watched(5))
    asked.clear()
    read_corpus(again.read[0], 6, watched(99))
    assert asked == [5, 6, 7, 8]
    assert digests(again.read[0].samples.folder) == want


def notebook(*cells: dict[str, Any], **about: Any) -> str:
    return json.dumps({"cells": cells, "metadata": about, "nbformat": 4})


def test_a_notebook_becomes_a_script_and_a_broken_one_falls(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    prose = {"cell_type": "markdown", "source": ["# Rivers\n", "\n", "They flow."]}
    code = {"cell_type": "code", "source": "%matplotlib inline\nx = 1\n", "outputs": ["1e9"]}
    old = {"cell_type": "code", "input": ["y = 2"]}
    rows: list[dict[str, Any]] = [
        {"content": notebook(prose, code)},
        {"content": notebook(prose, kernelspec={"language": "Scala"})},
        {"content": json.dumps({"worksheets": [{"cells": [old]}]})},
        {"content": "{oops"},
        {"content": "[]"},
        {"content": notebook()},
        {"content": None},
    ]
    file = jsonl(tmp_path / "books.jsonl", rows)
    plan = build(
        read_only({"books": {"file": file, "as": "notebook", "tag": "Code"}}), tmp_path / "out"
    )
    assert samples(plan)["text"].to_list()[:5] == [
        "# # Rivers\n#\n# They flow.\n\n# %matplotlib inline\nx = 1\n",
        "// # Rivers\n//\n// They flow.\n",
        "y = 2\n",
        "{oops",
        "[]",
    ]
    assert reasons(plan) == {"broken_notebook": 2, "no_text": 2}


def hub_set(folder: Path) -> str:
    """A dataset as the hub lays it out: configurations and splits in the card, Parquet below."""
    (folder / "data").mkdir(parents=True)
    half = len(TEXTS) // 2
    for n, rows in enumerate((TEXTS[:half], TEXTS[half:])):
        pl.DataFrame(rows).write_parquet(folder / "data" / f"train-{n}.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n"
        "  - split: train_sft\n    path: data/train-*.parquet\n---\n"
    )
    return str(folder)


def test_a_set_in_the_hubs_layout_gives_what_its_files_give(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    hub = {
        "hub": hub_set(tmp_path / "set"),
        "name": "main",
        "split": "train",
        "columns": {"text": "content"},
        "licence": "odc-by",
    }
    plan = build(read_only({"texts": hub}, part_rows=20), tmp_path / "out")
    assert samples(plan)["text"].to_list() == [row["content"] for row in TEXTS]
    card = (plan.targets[0].shards.folder / "README.md").read_text()
    assert f"| texts | {hub['hub']} | main, split train | odc-by |" in card
    with pytest.raises(SourceError, match="has no split 'test'"):
        build(read_only({"texts": {**hub, "split": "test"}}), tmp_path / "out")
    with pytest.raises(SourceError, match="has no column 'text'; it has content, k"):
        build(read_only({"texts": {**hub, "columns": {"text": "text"}}}), tmp_path / "out")


def test_what_is_read_seeds_what_is_generated(
    tmp_path: Path, write_recipe: Write, fake: FakeServer
) -> None:
    pages = {
        "file": jsonl(tmp_path / "pages.jsonl", TEXTS),
        "columns": {"text": "content", "topic": "Number {k}"},
        "limit": 10,
    }

    def change(recipe: dict[str, Any]) -> None:
        recipe["corpora"] = {"pages": pages}
        recipe["generate"] = {
            "faqs": {"kind": "faq", "seeds": {"from": "pages"}, "samples": 10},
            "scores": {"kind": "educational_score", "seeds": {"from": "pages"}, "samples": 10},
        }
        recipe["curate"] = [{"exact_duplicate": {"only": ["pages"]}}]

    plan = build(write_recipe(fake.url, change=change), tmp_path / "out")
    read = samples(plan, "pages")
    for name in ("faqs", "scores"):
        made = samples(plan, name)
        assert set(made["seed_id"]) == set(read["id"])
    assert plan.targets[0].sources == ("faqs", "pages")
    table = funnel(plan)
    asked = table.filter(pl.col("stage") == "asked").select("source", "rows").rows()
    assert asked == [("faqs", 10), ("scores", 10), ("pages", 10)]


def test_offline_reads_samples_and_scale_shrinks_what_is_read(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    far = {
        "hub": "someone/far",
        "columns": {"text": "content"},
        "sample": jsonl(tmp_path / "sample.jsonl", TEXTS),
        "expect": {"rows": 100},
    }
    output = {"sequence_length": 64, "mix": {"texts": {"tokens": 2000}, "more": {"tokens": 90}}}
    more = {**far, "limit": 400}
    path = read_only({"texts": far, "more": more}, outputs={"all": output})
    notes = Notes()
    plan = plan_build(str(path), tmp_path / "out", [], 0.1, offline=True)
    run_stages(plan, notes)
    assert [len(samples(plan, name)) for name in ("texts", "more")] == [10, 40]
    assert any("texts has" in line and "200 that the mix asks" in line for line in notes.lines)
    assert not any("more has" in line for line in notes.lines)
    card = (plan.targets[0].shards.folder / "README.md").read_text()
    assert "| texts | a shipped sample of someone/far (the file sample.jsonl), not the set" in card
    with pytest.raises(RecipeError, match=r"read.yaml:3: the hub set someone/far has no sample"):
        load_recipe(str(read_only({"far": {"hub": "someone/far"}})), offline=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colums": {}}, "did you mean 'columns'?"),
        ({"hub": "a/b"}, "name either a file or a hub set"),
        ({"columns": {"txet": "a"}}, "did you mean 'text'?"),
        ({"columns": {"topic": "a"}, "as": "messages", "expect": {"row": 1}}, "unknown key 'row'"),
        ({"as": "messages", "columns": {"user": "a"}}, "name messages, or user and assistant"),
        ({"as": "messages", "columns": {"user": "a", "messages": "b"}}, "choose one"),
        ({"split": "test"}, "belong to a hub set"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"file": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
    ],
)
def test_a_wrong_corpus_is_refused_in_one_line(
    tmp_path: Path, read_only: Callable[..., Path], change: Corpus, says: str
) -> None:
    path = read_only({"texts": {"file": jsonl(tmp_path / "a.jsonl", TEXTS), **change}})
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    line = str(caught.value)
    assert says in line
    assert f"{path}" in line
    assert "\n" not in line


def test_names_are_unique_and_something_has_to_be_named(
    tmp_path: Path, write_recipe: Write, read_only: Callable[..., Path]
) -> None:
    file = {"file": jsonl(tmp_path / "a.jsonl", TEXTS), "columns": {"text": "content"}}
    path = write_recipe(change=lambda r: r.update(corpora={"books": file}))
    with pytest.raises(RecipeError, match="'books' is generated and a corpus"):
        load_recipe(str(path))
    with pytest.raises(RecipeError, match="add generate or corpora"):
        load_recipe(str(read_only({})))


def test_seeds_are_chosen_by_their_columns(
    tmp_path: Path, write_recipe: Write, fake: FakeServer
) -> None:
    rows = [{"text": f"Page {n}.", "k": n % 4, "lang": None if n % 2 else "en"} for n in range(40)]
    seeds = {
        "file": jsonl(tmp_path / "pages.jsonl", rows),
        "where": {"lang": ["en", None], "k": [0, 1]},
        "where_not": {"text": "Page 0."},
        "limit": 9,
    }
    entry = {"kind": "faq", "seeds": seeds, "samples": 9}
    plan = plan_build(
        str(write_recipe(fake.url, change=lambda r: r.update(generate={"faqs": entry}))),
        tmp_path / "out",
    )
    (source,) = plan.generated
    read_seeds(source)
    fields = source.seeds.read(0, suffix="arrow")["fields"].to_pylist()
    wanted = [row["text"] for row in rows[1:] if row["k"] in (0, 1)]
    assert [json.loads(row)["text"] for row in fields] == wanted[:9]


def test_the_corpora_of_the_guide_are_read(tmp_path: Path, read_only: Callable[..., Path]) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "writing.md").read_text(), re.DOTALL)
    (text,) = [block for block in blocks if block.startswith("corpora:")]
    plan = plan_build(str(read_only(yaml.safe_load(text)["corpora"])), tmp_path / "o", offline=True)
    for source in plan.read:
        read_corpus(source, 1000)
    assert len(samples(plan, "talks")) == 40
    assert 3 < len(samples(plan, "books")) < 40
    assert samples(plan, "books")["tag"].unique().to_list() == ["Textbook"]


def test_a_folders_readme_is_no_document(tmp_path: Path, read_only: Callable[..., Path]) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "README.md").write_text("A card that no model should learn by heart.")
    jsonl(folder / "data.jsonl", [{"text": "A first text."}, {"text": "Another text."}])
    plan = build(read_only({"set": {"file": str(folder)}}), tmp_path / "out")
    assert samples(plan)["text"].to_list() == ["A first text.", "Another text."]


@pytest.mark.parametrize(
    ("name", "content", "corpus", "says"),
    [
        ("nested.parquet", None, {"as": "messages"}, "the turns' 'content'.* is no text"),
        ("open.csv", 'text\n"never closed\nmore\n', {}, "unexpected end of data|unterminated"),
        ("twice.csv", "text,text\none,two\n", {}, "names the column 'text' twice"),
        ("lines.json", '{"text": "a"}\n{"text": "b"}\n', {}, "name it .jsonl"),
        ("mixed.jsonl", '{"text":"a","k":1}\n{"text":"b","k":[1]}\n', {"where": {"k": 1}}, "'k'"),
        ("at.jsonl", '{"text": "a", "at": 1}\n', {"meta": ["at"]}, "leave at out of meta"),
    ],
)  # fmt: skip
def test_what_a_file_holds_wrongly_is_one_line(
    tmp_path: Path,
    read_only: Callable[..., Path],
    name: str,
    content: str | None,
    corpus: dict[str, Any],
    says: str,
) -> None:
    if content is None:
        turns = [{"role": "user", "content": ["Hi?"]}, {"role": "assistant", "content": ["Yes."]}]
        pl.DataFrame({"messages": [turns]}).write_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_text(content)
    path = read_only({"read": {"file": str(tmp_path / name), **corpus}})
    with pytest.raises((SourceError, RecipeError), match=says):
        build(path, tmp_path / "out")


def test_half_a_character_in_a_notebook_is_replaced(
    tmp_path: Path, read_only: Callable[..., Path]
) -> None:
    cell = {"cell_type": "markdown", "source": ["half \ud800 of one"]}
    notebook = json.dumps({"cells": [cell], "metadata": {}})
    file = jsonl(tmp_path / "notebooks.jsonl", [{"content": notebook}])
    corpus = {"file": file, "as": "notebook", "columns": {"text": "content"}}
    plan = build(read_only({"notebooks": corpus}), tmp_path / "out")
    assert samples(plan)["text"].to_list() == ["# half ? of one\n"]
