"""Fixtures that every test may use."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fake_server import FakeServer

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job that a script put behind
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start is to hear it
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")


@pytest.fixture(scope="session", autouse=True)
def own_prefect_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's Prefect profile or database."""
    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    os.environ.pop("PREFECT_API_URL", None)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


Recipe = dict[str, Any]


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Write a small recipe file against the given endpoints; `change` edits it first."""

    def write(
        *endpoints: str, change: Callable[[Recipe], object] | None = None, name: str = "small"
    ) -> Path:
        recipe: Recipe = {
            "name": name,
            "engine": {
                "model": "fake",
                "endpoints": list(endpoints or ["http://127.0.0.1:9/v1"]),
                "sampling": {"max_tokens": 64},
            },
            "generate": {
                "books": {
                    "kind": "textbook",
                    "seeds": {"file": "data/seeds/topics.jsonl"},
                    "samples": 30,
                    "vary": {"audience": {"college": 0.5, "general": 0.5}},
                },
                "sums": {
                    "kind": "math",
                    "seeds": {"file": "data/seeds/problems.jsonl"},
                    "samples": 20,
                },
            },
            "curate": [{"length": {"min_tokens": 5}}, {"repetition": {}}, {"exact_duplicate": {}}],
            "outputs": {
                "pretrain": {
                    "tokenizer": "gpt2",
                    "sequence_length": 128,
                    "validation": 0.1,
                    "render": {"template": "nanophi"},
                }
            },
            "part_rows": 8,
        }
        if change:
            change(recipe)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return path

    return write
