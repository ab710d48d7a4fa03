"""`shardmill preview`: prompts of real seeds, columns that are missing or unused, and replies."""

import json
from pathlib import Path

import pytest

from data.errors import RecipeError, SourceError
from flows.preview import preview, screen
from tests.fake_server import FakeServer


def shown(*words: str, **options: object) -> str:
    with screen.capture() as capture:
        preview(*words, **options)  # type: ignore[arg-type]
    return capture.get()


def test_prompts_of_shipped_seeds_are_shown_with_knobs() -> None:
    text = shown("textbook", n=2, knob=("audience=college", "words=77"))
    assert text.count("user:") == 2
    assert "first-year college students" in text
    assert "about 77 words" in text
    assert "unused" not in text


def test_missing_and_unused_columns_are_named(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    good = {"topic": "Ice", "category": "C", "focus": ["cold"], "rating": 5}
    seeds.write_text(json.dumps(good) + "\n" + json.dumps({"topic": "Fire"}) + "\n")
    text = shown("textbook", seeds=str(seeds))
    assert "missing: 1 of 2 seeds are unfit, such as one that lacks 'category'" in text
    assert "unused: no prompt here reads rating" in text
    seeds.write_text('{"title": "Ice"}\n')
    with pytest.raises(SourceError, match=r"every seed lacks 'topic'.* the seeds have title"):
        shown("textbook", seeds=str(seeds))


def test_replies_come_with_what_became_of_them() -> None:
    with FakeServer() as server:
        options = {"endpoint": server.url, "model": "fake", "generate": True}
        text = shown("math", n=2, **options)
        assert server.requests == 2
    assert text.count("reply:") == 2
    assert "sample, " in text or "refused: " in text


def test_a_source_of_a_recipe_is_shown_with_its_settings() -> None:
    text = shown("demo:stories", n=1)
    assert "about 120 words" in text
    with pytest.raises(RecipeError, match="demo has no source 'tales'; it has"):
        shown("demo:tales")


@pytest.mark.parametrize(
    ("kind", "knob", "says"),
    [
        ("textbok", "words=50", "did you mean 'textbook'"),
        ("textbook", "wrods=50", "did you mean 'words'"),
        ("textbook", "words", "not of the form knob=value"),
        ("textbook", "words=many", "valid integer"),
    ],
)
def test_wrong_words_are_one_line(kind: str, knob: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        shown(kind, knob=(knob,))
