"""Compile every kernel once, ahead of the first build: `python -m flows.warm`.

The set-up calls it while vLLM is installed. numba keeps what it compiled on disk, so a first
build, or the tests, need not wait for it.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from data import ROOT
from flows.corpora import read_corpus
from flows.curation import curate
from flows.outputs import pack, tokenize
from flows.plan import make_plan
from flows.prompting import render_prompts
from flows.recipe import Recipe
from flows.seeds import read_seeds

SAMPLES = ROOT / "data" / "samples"
SMALL: dict[str, Any] = {
    "name": "warm",
    "engine": {"model": "none", "endpoints": ["http://127.0.0.1:9/v1"]},
    "generate": {
        "asked": {
            "kind": "textbook",
            "seeds": {"file": str(ROOT / "data" / "seeds" / "topics.jsonl"), "limit": 20},
            "samples": 20,
            "vary": {"audience": {"college": 0.3, "general": 0.7}},
        }
    },
    "corpora": {
        "pages": {"file": str(SAMPLES / "fineweb-edu.jsonl")},
        "sums": {
            "file": str(SAMPLES / "metamath.jsonl"),
            "columns": {"text": "{query} {response}"},
            "tag": "Math",
        },
        "code": {
            "file": str(SAMPLES / "code-search-net.jsonl"),
            "columns": {"text": "func_code_string"},
            "tag": "Code",
        },
    },
    "curate": [
        "exact_duplicate",
        "near_duplicate",
        {"near_duplicate": {"preset": "fineweb"}},
        "gopher_quality",
        "gopher_repetition",
        "fineweb",
        "c4",
        {
            "decontaminate": {
                "benchmarks": [{"file": str(SAMPLES / "benchmark.jsonl"), "columns": ["question"]}]
            }
        },
    ],
    "outputs": {"rows": {"sequence_length": 128, "validation": 0.1}},
}


def warm() -> float:
    """Gives the seconds that it took."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shardmill-") as folder:
        plan = make_plan(Recipe.model_validate(SMALL), Path(folder))
        (asked,) = plan.generated
        read_seeds(asked)
        render_prompts(asked, plan.recipe.seed, plan.recipe.part_rows)
        reading: dict[str, Any] = {"generate": {}, "engine": None}
        plan = make_plan(Recipe.model_validate({**SMALL, **reading}), Path(folder))
        for corpus in plan.read:
            read_corpus(corpus, plan.recipe.part_rows)
        curate(plan)
        for target in plan.targets:
            tokenize(plan, target, lambda line: None)
            pack(plan, target)
    return time.monotonic() - begun


if __name__ == "__main__":
    print(f"kernels are compiled ({warm():.0f} s)")
