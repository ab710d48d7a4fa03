"""What kinds have in common: prompts that differ, replies that are cleaned, judges that judge."""

import inspect
import itertools
import json
import pkgutil
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from aiohttp import web

import prompts
from data import ROOT, schema
from data.errors import RecipeError, SourceError
from flows.loading import load_recipe
from prompts import Refusal, kind_source, list_kinds, load_kind, user
from prompts._reply import Reply, clean
from prompts._turns import written_turns
from tests.builds import build
from tests.fake_server import FakeServer

Write = Callable[..., Path]
HELPERS = [found.name for found in pkgutil.iter_modules(prompts.__path__) if found.name[0] == "_"]
MANNERS = ("audience", "style", "form", "task", "pair")
CHOICES = [
    (name, knob)
    for name in list_kinds()
    for knob, field in load_kind(name).model_fields.items()
    if knob in MANNERS and typing.get_origin(field.annotation) is Literal
]


@pytest.mark.parametrize(("name", "knob"), CHOICES)
def test_the_values_of_a_knob_ask_for_other_things_not_in_other_words(name: str, knob: str) -> None:
    kind = load_kind(name)
    asked = {
        value: set(re.findall(r"\w+", kind(**{knob: value}).messages(example.seed)[-1]["content"]))
        for example in kind.EXAMPLES[:1]
        for value in typing.get_args(kind.model_fields[knob].annotation)
    }
    for one, other in itertools.combinations(asked, 2):
        assert len(asked[one] ^ asked[other]) >= 12, (one, other)


def test_seeds_of_one_kind_are_asked_to_begin_in_different_ways() -> None:
    kind = load_kind("story")()
    asked = [kind.messages({"premise": f"Number {n}."})[0]["content"] for n in range(200)]
    openings = [re.findall(r"Begin [^.]+\.", text) for text in asked]
    counts = pl.Series([found[0] for found in openings]).value_counts()["count"]
    assert all(len(found) == 1 for found in openings)
    assert len(counts) == 8
    assert counts.max() < 60  # type: ignore[operator]
    assert asked == [kind.messages({"premise": f"Number {n}."})[0]["content"] for n in range(200)]


@pytest.mark.parametrize("helper", ["", *HELPERS])
def test_a_change_of_a_shared_file_is_another_stage(
    helper: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read = kind_source("story"), inspect.getsource
    name = f"prompts.{helper}".rstrip(".")

    def changed(module: Any) -> str:
        return read(module) + ("\n" if module.__name__ == name else "")

    monkeypatch.setattr(inspect, "getsource", changed)
    assert kind_source.__wrapped__("story") != before


def test_the_tour_shows_every_kind() -> None:
    text = (ROOT / "flows" / "recipes" / "kinds.yaml").read_text()
    assert sorted(re.findall(r"\bkind: (\w+)$", text, re.MULTILINE)) == list_kinds()


PROSE = "Ice floats because it is less dense than water. Lakes freeze from the top."


@pytest.mark.parametrize(
    ("reply", "text", "rules"),
    [
        (PROSE, PROSE, []),
        (f"Sure! Here is your text:\n\n{PROSE}", PROSE, ["preamble"]),
        (f"Certainly, I can do that. {PROSE}", PROSE, ["preamble"]),
        (f"Here's a section:\n{PROSE}", PROSE, ["preamble"]),
        ("Here is how: ice floats.", "Here is how: ice floats.", []),
        (f"**Title:** {PROSE}", PROSE, ["label"]),
        (f"## Introduction\n\n{PROSE}", PROSE, ["heading"]),
        (f"```markdown\n{PROSE}\n```", PROSE, ["fence"]),
        (f"Assistant: {PROSE}<|im_end|>\nAssistant: More.", PROSE, ["chat_mark", "chat_mark"]),
        (f"{PROSE}\n\nLet me know if I can help!", PROSE, ["closing"]),
        (f"{PROSE}\n\n(Note: 14 words.)\nWord count: 14", PROSE, ["closing", "closing"]),
        (f"{PROSE} Then Dr. Weller says that the", PROSE, ["unfinished"]),
        (f"{PROSE}\n\n1. A\n2. The ice", PROSE, ["unfinished"]),
        (f"{PROSE}\n\n```python\nx = 1\n```", f"{PROSE}\n\n```python\nx = 1\n```", []),
        (f"{PROSE} {PROSE}", PROSE, ["loop"]),
        (
            f"{PROSE} It is" + " very, very" * 5,
            PROSE,
            ["loop", "unfinished"],
        ),
        (f"Write ten plain words on the ice of this lake.\n{PROSE}", PROSE, ["instructions"]),
    ],
)
def test_what_is_no_part_of_the_text_is_cut_and_kept_beside_it(
    reply: str, text: str, rules: list[str]
) -> None:
    asked = user("Write ten plain words on the ice of this lake. No lists.")
    found = clean(reply, {"topic": "lake"}, asked)
    assert isinstance(found, Reply)
    assert (found.text, [cut["rule"] for cut in found.stripped]) == (text, rules)
    assert all(0 < len(cut["text"]) <= 200 for cut in found.stripped)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I'm sorry, but I can't.", "model_declined"),
        ("Ice is cold. As an AI language model, I have not felt it.", "model_declined"),
        ("My name is [Your Name] and I sell ice.", "placeholder"),
        ("Ice. " + "The ice is on the lake and in the lake. " * 8, "loops"),
        ("the ice of the lake that", "unfinished"),
        ("Лёд легче воды, поэтому он плавает на поверхности озера.", "not_english"),
        (
            "Das Eis schwimmt auf dem Wasser, weil es leichter ist. Im Winter frieren die Seen von "
            "oben zu, und die Fische leben darunter weiter, bis das Eis wieder schmilzt.",
            "not_english",
        ),
        ("Ice. Write ten plain words on the ice of this lake. Ice.", "leaks_instructions"),
        ("It is a long way from here to the other side.", "copies_the_example"),
    ],
)
def test_what_is_no_text_at_all_is_refused(reply: str, reason: str) -> None:
    asked = [
        {"role": "user", "content": "Write ten plain words on a road."},
        {"role": "assistant", "content": "It is a long way from here to the other end."},
        {"role": "user", "content": "Write ten plain words on the ice of this lake."},
    ]
    found = clean(reply, {}, asked)
    assert isinstance(found, Refusal)
    assert found.reason == reason


def test_words_of_the_seed_are_no_leak() -> None:
    point = "ice is less dense than the water that it floats on"
    found = clean(f"We see that {point}.", {"focus": [point]}, user(f"Explain that {point}. Now."))
    assert isinstance(found, Reply)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("User: Why is ice light?\nAssistant: It is not.", ["Why is ice light?", "It is not."]),
        ("**user:** Is ice cold?\n\nAssistant: Yes.\nUser: Why?", ["Is ice cold?", "Yes."]),
        ("User: Is ice cold?\nUser: Is it?", "no_turns"),
        ("Assistant: Yes.\nUser: Is ice cold?", "no_turns"),
        (f"User: {' '.join(map(str, range(121)))}\nAssistant: Yes.", "no_user_message"),
    ],
)
def test_turns_are_read_by_their_speakers(reply: str, said: list[str] | str) -> None:
    found = written_turns(reply, {}, [], 1)
    got = found.reason if isinstance(found, Refusal) else [turn["content"] for turn in found]
    assert got == said


def judged(recipe: dict[str, Any]) -> None:
    topics = {"file": "data/seeds/topics.jsonl"}
    recipe["generate"] = {
        "books": {"kind": "textbook", "seeds": topics, "samples": 12},
        "scores": {"kind": "educational_score", "seeds": {"from": "books"}, "samples": 12},
        "chats": {"kind": "chat", "knobs": {"turns": 1}, "seeds": topics, "samples": 4},
        "more": {"kind": "continuation", "seeds": {"from": "chats"}, "samples": 4},
    }
    recipe["curate"] = []


def preambles_and_odd_verdicts(body: dict[str, Any], before: int) -> web.Response | None:
    content = None
    if "response_format" in body:
        scores = body["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"]
        assert scores == [0, 1, 2, 3, 4, 5]
        content = ["five out of five", '{"score": 5}', None][body["seed"] % 3]
    elif "section of a textbook" in body["messages"][-1]["content"]:
        content = f"Sure, here it is:\n\nThe lake number {body['seed']} is cold. It is"
    elif "Continue it: the user" in body["messages"][-1]["content"]:
        content = f"User: Does that hold for lake {body['seed']}?\nAssistant: It does."
    if content is None:
        return None
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    return web.json_response({"choices": [choice], "usage": {}})


def samples(plan: Any, name: str, table: str = "part") -> pl.DataFrame:
    (source,) = [source for source in plan.sources if source.name == name]
    return pl.read_parquet(source.samples.folder / f"{table}-*.parquet")


def test_a_judge_gives_scores_by_sample_and_goes_into_no_output(
    write_recipe: Write, tmp_path: Path
) -> None:
    with FakeServer(fault=preambles_and_odd_verdicts) as server:
        plan = build(write_recipe(server.url, change=judged), tmp_path / "out")
    books, scores = samples(plan, "books"), samples(plan, "scores")
    assert set(scores["seed_id"]) == set(books["id"])

    refused = samples(plan, "scores", "verdicts")
    assert 0 < len(refused) < 12
    assert set(refused["reason"]) == {"breaks_schema"}
    meta = [json.loads(text) for text in scores["meta"]]
    read = ~scores["id"].is_in(refused["id"].implode())
    assert ["score" in row for row in meta] == read.to_list()
    assert all(row["score"] in range(6) and row["reason"] for row in meta if "score" in row)

    stripped = [json.loads(text)["stripped"] for text in books["meta"]]
    assert {tuple(cut["rule"] for cut in cuts) for cuts in stripped} == {("preamble", "unfinished")}
    assert all(re.fullmatch(r"The lake number \d+ is cold\.", text) for text in books["text"])

    chats, more = samples(plan, "chats"), samples(plan, "more")
    begun = {schema.show_id(id): len(turns) for id, turns in chats.select("id", "messages").rows()}
    grown = {schema.show_id(id): len(m) for id, m in more.select("seed_id", "messages").rows()}
    assert grown == {id: length + 2 for id, length in begun.items()}

    assert plan.targets[0].sources == ("books", "chats", "more")
    packed = pl.concat([pl.read_ipc(p) for p in plan.targets[0].shards.folder.glob("*.arrow")])
    assert not set(packed["doc_ids"].explode()) & set(scores["id"])


def test_a_mix_may_not_name_a_judge(write_recipe: Write) -> None:
    def change(recipe: dict[str, Any]) -> None:
        judged(recipe)
        recipe["outputs"]["pretrain"]["mix"] = {"books": {}, "scores": {"repeat": 2}}

    with pytest.raises(RecipeError, match="names a judge: 'scores'") as caught:
        load_recipe(str(write_recipe(change=change)))
    assert re.search(r"small\.yaml:\d+$", caught.value.where)


def test_an_output_of_judges_alone_is_refused(write_recipe: Write) -> None:
    def change(recipe: dict[str, Any]) -> None:
        judged(recipe)
        recipe["generate"] = {
            "scores": {
                **recipe["generate"]["scores"],
                "seeds": {"file": "data/seeds/extracts.jsonl"},
            }
        }

    with pytest.raises(RecipeError, match="no source but judges"):
        load_recipe(str(write_recipe(change=change)))


def test_a_conversation_that_is_none_is_named(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    def change(recipe: dict[str, Any]) -> None:
        judged(recipe)
        (tmp_path / "chats.jsonl").write_text('{"messages": ["Hello"]}\n')
        more = {**recipe["generate"]["more"], "seeds": {"file": "chats.jsonl"}}
        recipe["generate"] = {"more": more}

    with pytest.raises(SourceError, match="has no conversation as 'messages'"):
        build(write_recipe(fake.url, change=change), tmp_path / "out")
