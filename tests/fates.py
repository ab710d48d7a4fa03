"""A small build whose samples meet every fate: refused, short, repeated, nearly repeated, cleaned,
split over rows, judged by a later source."""

from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from flows.plan import Plan
from tests.builds import build
from tests.fake_server import FakeServer

FIRST = (
    "Ice floats on water because frozen water takes more room than the liquid does. A block of it "
    "pushes aside its own weight, which is less water than its size, so one tenth stands above. "
    "Lakes freeze from the top for that reason, and fish live through a winter under the lid. "
    "Pipes burst in a hard frost for the same reason, and roads crack along their old joints."
)
CLEANED = (
    "Rust is iron that has met oxygen.\u00a0Water carries the charges between the two, and salt "
    "speeds it up.  \n\n\n\nPaint keeps the air away, zinc gives itself up in place of the iron, "
    "and in a desert a wreck stays bright for many years because nothing there is ever wet."
)
TEXTS = {
    "empty": " ",
    "first": FIRST,
    "second": FIRST,
    "near": FIRST.replace("a hard frost", "a long frost"),
    "cleaned": CLEANED,
    "short": "Ice floats on water, since it is light.",
}


class Fates(FakeServer):
    """The first texts that are asked for are TEXTS, the others the usual ones."""

    def __init__(self, model: str) -> None:
        self._left = list(TEXTS.values())
        super().__init__(model, fault=self._answer)

    def _answer(self, body: dict[str, Any], before: int) -> web.Response | None:
        if "response_format" in body or not self._left:
            return None
        message = {"message": {"content": self._left.pop(0)}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 30}
        return web.json_response({"choices": [message], "usage": usage})


def recipe_of(url: str) -> dict[str, Any]:
    return {
        "name": "fates",
        "engine": {
            "model": "fake",
            "endpoints": [url.replace("//", "//user:secret@")],
            "concurrency": 1,
            "sampling": {"max_tokens": 64},
        },
        "generate": {
            "books": {
                "kind": "textbook",
                "seeds": {"file": "data/seeds/topics.jsonl"},
                "samples": 14,
                "vary": {"words": {200: 0.5, 300: 0.5}},
            },
            "scores": {"kind": "educational_score", "seeds": {"from": "books"}, "samples": 4},
        },
        "curate": [
            {"normalize_text": {}},
            {"length": {"min_tokens": 20, "except": ["scores"]}},
            {"exact_duplicate": {"except": ["scores"]}},
            {"near_duplicate": {"except": ["scores"]}},
        ],
        "outputs": {
            "pretrain": {
                "tokenizer": "gpt2",
                "sequence_length": 64,
                "validation": 0.2,
                "render": {"template": "nanophi"},
            },
            "chat": {
                "tokenizer": "gpt2",
                "sequence_length": 256,
                "render": {"template": "zephyr", "loss": "assistant"},
            },
        },
        "part_rows": 5,
    }


def build_fates(folder: Path, *changes: str, out: str = "out", model: str = "fake") -> Plan:
    with Fates(model) as server:
        path = folder / f"{out}.yaml"
        path.write_text(yaml.safe_dump(recipe_of(server.url), sort_keys=False))
        given = (f"engine.endpoints=[{server.url}]", f"engine.model={model}")
        return build(path, folder / out, *given, *changes)
