"""Rows of several requests, seeds from another generation, structured output, cut replies."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from data.errors import RecipeError
from flows.loading import load_recipe
from prompts import load_kind
from tests.builds import build, parts
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def chained(recipe: dict[str, Any]) -> None:
    topics = {"file": "data/seeds/topics.jsonl"}
    recipe["generate"] = {
        "courses": {"kind": "course_text", "seeds": {"from": "outlines"}, "samples": 12},
        "outlines": {
            "kind": "outline",
            "seeds": {"file": "data/seeds/courses.jsonl"},
            "samples": 12,
        },
        "chats": {"kind": "chat", "seeds": topics, "samples": 12},
    }


def samples(plan: Any, name: str) -> pl.DataFrame:
    (source,) = [source for source in plan.sources if source.name == name]
    return pl.read_parquet(source.samples.folder / "part-*.parquet")


def test_a_chain_is_seeded_from_what_the_earlier_generation_kept(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    plan = build(write_recipe(fake.url, change=chained), tmp_path / "out")
    outlines, courses = samples(plan, "outlines"), samples(plan, "courses")
    assert len(outlines) == len(courses) == 12
    asked = courses["prompt"].to_list()
    assert all(any(text in prompt for prompt in asked) for text in outlines["text"])
    first_course = next(
        n
        for n, b in enumerate(fake.bodies)
        if "outline of a course" in b["messages"][-1]["content"]
    )
    assert all("response_format" not in body for body in fake.bodies[first_course:])


def test_structured_output_is_asked_for_and_checked(write_recipe: Write, tmp_path: Path) -> None:
    def fault(body: dict[str, Any], before: int) -> Any:
        if "response_format" not in body:
            return None
        schema = body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["units"]["maxItems"] == 5
        broken = ["not json", '{"units": 3}', None][body["seed"] % 3]
        if broken is None:
            return None
        return web.json_response(
            {"choices": [{"message": {"content": broken}, "finish_reason": "stop"}], "usage": {}}
        )

    with FakeServer(fault=fault) as server:
        plan = build(write_recipe(server.url, change=chained), tmp_path / "out")
    outlines = next(source for source in plan.sources if source.name == "outlines")
    verdicts = pl.read_parquet(outlines.samples.folder / "verdicts-*.parquet")
    assert 0 < len(verdicts) < 12
    assert set(verdicts["reason"]) == {"breaks_schema"}
    assert any("$.units" in figures for figures in verdicts["figures"])


def answer(text: str, reason: str = "stop") -> web.Response:
    choice = {"message": {"content": text}, "finish_reason": reason}
    return web.json_response({"choices": [choice], "usage": {}})


def verdicts(plan: Any, name: str) -> pl.DataFrame:
    (source,) = [source for source in plan.sources if source.name == name]
    return pl.read_parquet(source.samples.folder / "verdicts-*.parquet")


def test_replies_that_no_parser_takes_cost_their_rows_alone(
    write_recipe: Write, tmp_path: Path
) -> None:
    units = [{"title": f"A\ud800bc{n}", "points": ["one", "two"]} for n in range(2)]
    odd = {0: "[" * 3000, 1: json.dumps({"units": units})}  # deep; a lone surrogate, escaped

    def fault(body: dict[str, Any], before: int) -> Any:
        text = odd.get(body["seed"] % 3) if "response_format" in body else None
        return answer(text) if text else None

    with FakeServer(fault=fault) as server:
        plan = build(write_recipe(server.url, change=chained), tmp_path / "out")
    refused = verdicts(plan, "outlines")
    assert 0 < len(refused) < 12
    assert set(refused["reason"]) == {"breaks_schema"}
    assert "nested too deeply" in refused["figures"][0]
    assert "A\ufffdbc" in "".join(samples(plan, "outlines")["text"])


@pytest.mark.parametrize("method", ["parse", "parse_exchange", "follow_up"])
def test_a_kind_that_fails_on_a_reply_costs_that_row_alone(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    name = {"parse": "outline"}.get(method, "chat")
    kind = load_kind(name)
    whole = getattr(kind, method)

    def fragile(self: Any, given: Any, *more: Any) -> Any:
        if "BOOM" in str((given, *more)):
            raise KeyError("units")
        return whole(self, given, *more)

    def fault(body: dict[str, Any], before: int) -> Any:
        if body["seed"] % 3:
            return None
        units = [{"title": "BOOM", "points": ["one", "two"]}] * 2
        return answer(json.dumps({"units": units}) if "response_format" in body else "BOOM")

    monkeypatch.setattr(kind, method, fragile)
    with FakeServer(fault=fault) as server:
        recipe, out = write_recipe(server.url, change=chained), tmp_path / "out"
        plan = build(recipe, out)
    refused = verdicts(plan, f"{name}s")
    assert 0 < len(refused) < 12
    assert set(refused["reason"]) == {"kind_failed"}
    assert all("KeyError('units')" in figures for figures in refused["figures"])


def test_each_turn_of_a_conversation_is_a_completion_of_its_own(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    plan = build(write_recipe(fake.url, change=chained), tmp_path / "out")
    chats = samples(plan, "chats")
    roles = [[m["role"] for m in messages] for messages in chats["messages"]]
    assert roles == [["user", "assistant"] * 3] * 12
    assert chats["text"].null_count() == 12
    assert (chats["tokens"] > 30).all()
    chat_source = next(source for source in plan.generated if source.name == "chats")
    rows = pl.read_parquet(chat_source.completions.folder / "part-*.parquet")
    assert rows["keys"].list.len().to_list() == [3] * 12
    assert rows["keys"].explode().n_unique() == 36
    again = [body for body in fake.bodies if len(body["messages"]) == 5]
    assert len(again) == 12


def test_a_conversation_goes_on_where_it_was_cut_off(write_recipe: Write, tmp_path: Path) -> None:
    with FakeServer() as server:
        wanted = parts(build(write_recipe(server.url, change=chained), tmp_path / "clean"))
    with FakeServer() as server:
        recipe, out = write_recipe(server.url, change=chained), tmp_path / "out"
        for requests in (10, 20, 30, 40, 50):
            with pytest.raises(Exception, match="budget"):
                build(recipe, out, "engine.concurrency=1", f"engine.budget.requests={requests}")
        assert parts(build(recipe, out)) == wanted
        assert set(server.asked.values()) == {1}


def cut(body: dict[str, Any], before: int) -> web.Response:
    """Every reply is cut at max_tokens until the second continuation."""
    started = body["messages"][-1]["role"] == "assistant"
    so_far = body["messages"][-1]["content"] if started else ""
    assert bool(body.get("continue_final_message")) == started
    end = so_far.count("One more.") >= 2
    text = " and the end. The answer is 4, right?" if end else " One more."
    return web.json_response(
        {
            "choices": [
                {"message": {"content": text}, "finish_reason": "stop" if end else "length"}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
    )


@pytest.mark.parametrize(
    ("knob", "requests", "reason", "text"),
    [
        ("keep", 30, None, "One more."),
        ("reject", 30, "cut_at_max_tokens", "One more."),
        ("continue", 90, None, "One more. One more. and the end. The answer is 4, right?"),
    ],
)
def test_a_cut_reply_is_kept_rejected_or_continued(
    write_recipe: Write, tmp_path: Path, knob: str, requests: int, reason: str | None, text: str
) -> None:
    def only_books(recipe: dict[str, Any]) -> None:
        del recipe["generate"]["sums"]
        recipe["generate"]["books"]["on_length"] = knob

    with FakeServer(fault=cut) as server:
        plan = build(write_recipe(server.url, change=only_books), tmp_path / "out")
        assert server.requests == requests
    found = samples(plan, "books")
    assert {row.strip() for row in found["text"]} == {text}
    verdicts = pl.read_parquet(plan.sources[0].samples.folder / "verdicts-*.parquet")
    assert set(verdicts["reason"]) == ({reason} if reason else set())


def test_a_continuation_that_is_refused_leaves_the_cut_reply(
    write_recipe: Write, tmp_path: Path
) -> None:
    def only_books(recipe: dict[str, Any]) -> None:
        del recipe["generate"]["sums"]
        recipe["generate"]["books"]["on_length"] = "continue"

    def full(body: dict[str, Any], before: int) -> web.Response:
        if "continue_final_message" in body:
            return web.json_response({"error": "longer than max_model_len"}, status=400)
        return answer("The river runs to the sea.", "length")

    with FakeServer(fault=full) as server:
        plan = build(write_recipe(server.url, change=only_books), tmp_path / "out")
    found = samples(plan, "books")
    assert set(found["text"]) == {"The river runs to the sea."}
    assert set(found["finish_reason"]) == {"length"}
    assert verdicts(plan, "books").is_empty()


def test_the_prompts_of_one_kind_share_their_beginning(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    build(write_recipe(fake.url), tmp_path / "out", "engine.concurrency=1")
    kinds = ["word problem" in json.dumps(body["messages"]) for body in fake.bodies]
    assert sum(a != b for a, b in itertools.pairwise(kinds)) == 1


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ({"from": "outlinez"}, "did you mean 'outlines'?"),
        ({"from": "courses"}, "seeds come from each other: courses < courses"),
        ({"from": "outlines", "file": "x"}, "name either a file or"),
        ({}, "name either a file or"),
    ],
)
def test_wrong_chains_are_refused(write_recipe: Write, seeds: dict[str, str], says: str) -> None:
    def change(recipe: dict[str, Any]) -> None:
        chained(recipe)
        recipe["generate"]["courses"]["seeds"] = seeds

    with pytest.raises(RecipeError) as caught:
        load_recipe(str(write_recipe(change=change)))
    assert says in str(caught.value)
