"""Two builds side by side: recipes, versions, funnels, and samples joined by their ids.

Of a sample only its id and hashes of its prompt and text are held, 40 bytes a sample; the texts
of the few that are shown are read afterwards.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl
import yaml

from data.places import shown
from data.schema import show_id
from flows.frames import build_frame
from flows.stored import StoredBuild

Facts = dict[str, Any]
_MISSING = object()
_LABELS = ("source", "tag", "stage", "filter", "reason")


def compare(a: StoredBuild, b: StoredBuild, examples: int) -> Facts:
    samples = _samples(a).join(_samples(b), on="id", how="full", coalesce=True, suffix="_b")
    joined = samples.collect()
    sides = {"a": pl.col("text_b").is_null(), "b": pl.col("text").is_null()}
    both = joined.filter(~sides["a"] & ~sides["b"])
    changed = both.filter(pl.col("text") != pl.col("text_b"))
    moved = both.filter(pl.col("verdict").ne_missing(pl.col("verdict_b")))
    return {
        "a": {"out": shown(a.out), "recipe": a.name, "hash": a.facts["hash"]},
        "b": {"out": shown(b.out), "recipe": b.name, "hash": b.facts["hash"]},
        "recipe": _differences(_recipe(a), _recipe(b)),
        "versions": _differences(_versions(a), _versions(b)),
        "funnel": _funnels(a, b),
        "samples": {
            "same": len(both) - len(changed),
            "only_in_a": _only(joined.filter(sides["a"]), "", examples),
            "only_in_b": _only(joined.filter(sides["b"]), "_b", examples),
            "text_changed": _changed(changed, a, b, examples),
            "verdict_changed": _moved(moved, examples),
        },
    }


def _recipe(build: StoredBuild) -> Facts:
    found: Facts = yaml.safe_load(build.recipe_file.read_text(encoding="utf-8"))
    return dict(_flat(found))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """`a.b.c` and its value, for each that holds no further keys; of `curate` the filter's name
    stands in place of a number, so that one more filter does not move all others."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{place}.{key}" if place else str(key))
    elif place == "curate" and isinstance(value, list):
        yield "curate", [name for entry in value for name in entry]
        seen: dict[str, int] = {}
        for entry in value:
            ((name, knobs),) = entry.items()
            seen[name] = seen.get(name, 0) + 1
            again = f" {seen[name]}" if seen[name] > 1 else ""
            yield from _flat(knobs, f"curate.{name}{again}")
    else:
        yield place, value


def _versions(build: StoredBuild) -> Facts:
    facts = build.facts
    found = {"shardmill": facts["shardmill"]}
    for group in ("kinds", "filters"):
        found |= {f"{group}.{name}": source[:12] for name, source in facts[group].items()}
    for source in facts["sources"]:
        stage = build.of(source, "completions")
        if stage is not None:
            names = (stage.settings.get("model"), stage.settings.get("revision"))
            found[f"model.{source}"] = " ".join(str(name) for name in names if name)
    return found


def _differences(a: Facts, b: Facts) -> list[Facts]:
    """Each key whose value differs; a side that lacks it says null in `a` or `b` and is named."""
    return [
        {"key": key, "a": a.get(key), "b": b.get(key)}
        for key in sorted({*a, *b})
        if a.get(key, _MISSING) != b.get(key, _MISSING)
    ]


def _funnels(a: StoredBuild, b: StoredBuild) -> Facts:
    """Rows and tokens where they differ; stages lose their number, so that filters of one name
    meet wherever they stand."""
    tables = []
    for build in (a, b):
        path = build.out / "funnel.csv"
        if not path.is_file():
            return {"missing": str(path), "rows": []}
        table = pl.read_csv(path, infer_schema=False, glob=False)
        named = table.with_columns(pl.col("stage").str.replace(r"^\d+ ", ""))
        counts = [pl.col(name).cast(pl.Int64).sum() for name in ("rows", "tokens")]
        tables.append(named.group_by(_LABELS).agg(counts))
    both = tables[0].join(
        tables[1], on=_LABELS, how="full", coalesce=True, nulls_equal=True, suffix="_b"
    )
    numbers = ("rows", "tokens", "rows_b", "tokens_b")
    both = both.with_columns(pl.col(numbers).fill_null(0))
    differs = (pl.col("rows") != pl.col("rows_b")) | (pl.col("tokens") != pl.col("tokens_b"))
    shown = both.filter(differs).sort(_LABELS)
    return {"missing": None, "rows": shown.to_dicts()}


def _samples(build: StoredBuild) -> pl.LazyFrame:
    """`id`, `source`, `tag`, `verdict` (null = kept), and hashes of `prompt` and `text`."""
    turns = pl.col("messages").list.eval(pl.element().struct.json_encode()).list.join("\n")
    return build_frame(build).select(
        "id",
        "source",
        "tag",
        verdict=pl.concat_str("filter", "reason", separator=": "),
        prompt=pl.col("prompt").hash(),
        text=pl.coalesce("text", turns).fill_null("").hash(),
    )


def _counts(rows: pl.DataFrame, *keys: str) -> list[Facts]:
    counted = rows.group_by(keys).agg(rows=pl.len())
    return counted.sort(keys, nulls_last=False).to_dicts()


def _some(rows: pl.DataFrame, examples: int) -> list[int]:
    """The least ids: hashes, so a fair choice, and the same at each run."""
    return rows["id"].sort().head(examples).to_list()


def _only(rows: pl.DataFrame, suffix: str, examples: int) -> Facts:
    labels = rows.select("id", source=f"source{suffix}", tag=f"tag{suffix}")
    ids = [show_id(id) for id in _some(rows, examples)]
    return {"rows": len(rows), "by": _counts(labels, "source", "tag"), "ids": ids}


def _changed(rows: pl.DataFrame, a: StoredBuild, b: StoredBuild, examples: int) -> Facts:
    """The same seed and knobs, so the same id, and another text; `same_prompt` tells whether the
    model was asked the same words."""
    labels = rows.with_columns(same_prompt=pl.col("prompt").eq_missing(pl.col("prompt_b")))
    ids = _some(rows, examples)
    before, after = _texts(a, ids), _texts(b, ids)
    return {
        "rows": len(rows),
        "by": _counts(labels, "source", "tag", "same_prompt"),
        "shown": [{"id": show_id(id), "a": before[id], "b": after[id]} for id in ids],
    }


def _texts(build: StoredBuild, ids: list[int]) -> dict[int, str]:
    wanted = pl.Series(ids, dtype=pl.UInt64).implode()
    found = build_frame(build).filter(pl.col("id").is_in(wanted))
    rows = found.select("id", "text", "messages").collect().iter_rows()
    return {
        id: text if text is not None else "\n\n".join(m["content"] for m in messages or [])
        for id, text, messages in rows
    }


def _moved(rows: pl.DataFrame, examples: int) -> Facts:
    labels = rows.select("id", "source", a="verdict", b="verdict_b").with_columns(
        pl.col("a", "b").fill_null("kept")
    )
    ids = [show_id(id) for id in _some(rows, examples)]
    return {"rows": len(rows), "by": _counts(labels, "source", "a", "b"), "ids": ids}
