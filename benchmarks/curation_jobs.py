"""What benchmarks/curation.py measures, a function a process; each prints its figures as JSON."""

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.curation_peers import (  # noqa: E402 - found from ROOT
    datatrove_decontaminate,
    datatrove_minhash,
    datatrove_quality,
    parts,
    rensa,
)

__all__ = ["datatrove_decontaminate", "datatrove_minhash", "datatrove_quality", "rensa"]
ROWS = 5_000


def make(folder: str, text: str, documents: str, longest: str) -> dict[str, float]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks.made_texts import corpus, words_of

    words = words_of(Path(text) if text not in ("", ".") else None)
    made = corpus(words, int(documents), longest=int(longest))
    rows: list[tuple[int, str, int]] = []
    size = 0
    for number, (content, origin) in enumerate(made):
        rows.append((number, content, origin))
        size += len(content)
        if len(rows) == ROWS or number + 1 == int(documents):
            ids, texts, origins = zip(*rows, strict=True)
            table = pa.table({"id": pa.array(ids, pa.uint64()), "text": texts, "origin": origins})
            pq.write_table(table, Path(folder) / f"corpus-{number // ROWS:05d}.parquet")
            rows = []
    return {"bytes": size}


STEPS: dict[str, list[Any]] = {
    "fineweb": [{"near_duplicate": {"preset": "fineweb"}}],
    "default": ["near_duplicate"],
    "quality": ["gopher_quality", "gopher_repetition", "fineweb"],
}


def _plan(folder: str, name: str) -> Any:
    """The build whose samples are the corpus; its curate stage has these steps."""
    import yaml

    from benchmarks.sample_stage import recipe as made_recipe
    from flows.plan import plan_build

    items = Path(folder) / "items.jsonl"
    if not items.exists():
        items.write_text("".join(json.dumps({"question": item}) + "\n" for item in _items()))
    drop = {"decontaminate": {"benchmarks": [{"file": str(items), "columns": ["question"]}]}}
    steps: list[Any] = ["exact_duplicate", "near_duplicate", *STEPS["quality"], drop]
    recipe = Path(folder) / f"{name}.yaml"
    recipe.write_text(yaml.safe_dump(made_recipe(STEPS.get(name, steps))))
    return plan_build(str(recipe), Path(folder) / "out")


def samples(folder: str, documents: str) -> dict[str, float]:
    """The corpus as the samples of a build."""
    from benchmarks.sample_stage import write_samples

    write_samples(_plan(folder, "whole"), parts(folder, documents))
    return {}


def stage(folder: str, name: str) -> dict[str, float]:
    """The curate stage, from the Parquet of samples to the Parquet of verdicts."""
    from flows.curation import curate

    plan = _plan(folder, name)
    start = time.process_time()
    curate(plan)
    used = time.process_time() - start
    fallen = sum(
        step.verdicts.read(part).num_rows
        for step in plan.steps
        for part in range(plan.sources[0].samples.count())
    )
    return {"stage_cpu": used, "rows": fallen}


def near_quality(folder: str, documents: str, name: str) -> dict[str, float]:
    """Recall of the pairs that the corpus was made with, in groups; precision of the pairs."""
    import polars as pl

    (step,) = _plan(folder, name).steps
    found = pl.DataFrame(step.verdicts.read(0, "pairs"))
    pairs = {(int(a, 16), int(b, 16)) for a, b in found.select("id", "other").rows()}
    groups = _groups(pairs)
    origins: dict[int, int] = {}
    texts: dict[int, str] = {}
    for table in parts(folder, documents):
        origins |= dict(zip(table["id"].to_pylist(), table["origin"].to_pylist(), strict=True))
        texts |= dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    made = [(id, origin) for id, origin in origins.items() if origin >= 0]
    joined = {(a, b) for a, b in made if groups.get(a, a) == groups.get(b, b)}
    some = random.Random(0).sample(made, min(3000, len(made)))
    alike = [pair for pair in some if jaccard(texts[pair[0]], texts[pair[1]]) >= 0.5]
    checked = random.Random(0).sample(sorted(pairs), min(2000, len(pairs)))
    exact = sum(jaccard(texts[a], texts[b]) >= 0.5 for a, b in checked) / max(1, len(checked))
    return {
        "recall": sum(pair in joined for pair in alike) / max(1, len(alike)),
        "made_recall": len(joined) / max(1, len(made)),
        "precision": exact,
    }


def _groups(pairs: set[tuple[int, int]]) -> dict[int, int]:
    heads: dict[int, int] = {}

    def head(id: int) -> int:
        while heads.setdefault(id, id) != id:
            id = heads[id]
        return id

    for a, b in pairs:
        low, high = sorted((head(a), head(b)))
        heads[high] = low
    return {id: head(id) for id in heads}


def jaccard(a: str, b: str) -> float:
    one, two = shingles(a), shingles(b)
    return len(one & two) / max(1, len(one | two))


def shingles(text: str) -> set[str]:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    return {" ".join(words[n : n + 5]) for n in range(len(words) - 4)}


def _timed(work: Callable[[Any], object], tables: list[Any]) -> float:
    """Documents a CPU second, the kernels compiled before."""
    work(tables[0][:2])
    start = time.process_time()
    for table in tables:
        work(table)
    return float(sum(len(table) for table in tables) / (time.process_time() - start))


def _frames(folder: str, documents: str) -> list[Any]:
    import polars as pl

    blank = {"tag": pl.String, "source": pl.String}
    return [
        pl.DataFrame(table).with_columns(
            *(pl.lit(None, kind).alias(name) for name, kind in blank.items())
        )
        for table in parts(folder, documents)
    ]


def near_kernel(folder: str, documents: str) -> dict[str, float]:
    from filters.near_duplicate import NearDuplicate

    return {
        "per_second": _timed(NearDuplicate.model_validate({}).sketch, _frames(folder, documents))
    }


def quality(folder: str, documents: str) -> dict[str, float]:
    from filters import Filter, load_filter
    from filters.measures import measure

    judges = [load_filter(name)() for name in ("gopher_quality", "gopher_repetition", "fineweb")]

    def work(samples: Any) -> None:
        measured = measure(samples, ("words", "repetition"))
        for judge in judges:
            assert isinstance(judge, Filter)
            judge.reasons(measured)

    return {"per_second": _timed(work, _frames(folder, documents))}


def agreement(documents: str) -> dict[str, Any]:
    from datatrove.pipeline import filters

    from benchmarks.made_texts import near_thresholds, words_of
    from tests import test_quality_oracle as oracle

    texts = near_thresholds(words_of(None), int(documents), seed=1)
    rules = {}
    gopher, no_alpha = filters.GopherQualityFilter(), {"max_non_alpha_words_ratio": 0}
    for label, name, theirs, names, knobs in (
        ("gopher", "gopher_quality", gopher, oracle.GOPHER, {"alpha_of": "tokens"}),
        (
            "gopher without the alpha rule",
            "gopher_quality",
            filters.GopherQualityFilter(**no_alpha),
            oracle.GOPHER,
            {"min_alpha_words": None},
        ),
        (
            "repetition",
            "gopher_repetition",
            filters.GopherRepetitionFilter(),
            oracle.REPETITION,
            {},
        ),
        ("fineweb", "fineweb", filters.FineWebQualityFilter(), oracle.FINEWEB, {}),
    ):
        found = oracle.ours(name, texts, **knobs)
        expected = oracle.theirs(theirs, names, texts)
        equal = sum(a == b for a, b in zip(found, expected, strict=True))
        rules[label] = equal / len(texts)
    return {"rules": rules}


def _items() -> list[str]:
    """Made benchmark items of 30 to 120 words, other words than the corpus's in half of them."""
    draw = random.Random(5)
    letters = "bcdfghklmnprstvw"
    words = [
        "".join(draw.choice(letters) + draw.choice("aeiou") for _ in "xxx") for _ in range(3000)
    ]
    return [" ".join(draw.choices(words, k=draw.randint(30, 120))) for _ in range(1300)]


def decontaminate(folder: str, documents: str) -> dict[str, Any]:
    import polars as pl

    from filters.decontaminate import Decontaminate

    items = _items()
    file = Path(folder) / "items.jsonl"
    file.write_text("".join(json.dumps({"question": item}) + "\n" for item in items))
    knobs = {"benchmarks": [{"file": str(file), "columns": ["question"]}]}
    judge = Decontaminate.model_validate(knobs)
    frames = _frames(folder, documents)
    flagged = sum(judge.reasons(judge.prepare(frame)).is_not_null().sum() for frame in frames)
    draw, host = random.Random(1), frames[0]["text"].to_list()
    verbatim = [
        f"{text[:500]} {item} {text[500:]}" for text, item in zip(host, items, strict=False)
    ]
    edited = []
    for text, item in zip(host, items, strict=False):
        words = item.split()
        for place in range(len(words)):
            if draw.random() < 0.05:
                words[place] = draw.choice(["zu", "zi", "za", "ze"])
        edited.append(f"{text[:500]} {' '.join(words)} {text[500:]}")
    shares: dict[str, Any] = {}
    for name, texts in (("verbatim", verbatim), ("edited", edited)):
        samples = pl.DataFrame({"text": texts})
        shares[name] = judge.reasons(judge.prepare(samples)).is_not_null().mean()
    per_second = _timed(judge.prepare, frames)
    return {"per_second": per_second, "clean": flagged / int(documents), **shares}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
