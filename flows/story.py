"""A sample's story from the stages of a build: what asked for it, what became of it, where it is.

Every function reads one part of a stage, found through the index of ids, never all of them.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import RecipeError
from data.schema import show_id
from flows.lookup import Range, find, one_row, rows_of, shown
from flows.neighbours import cluster
from flows.placing import placed
from flows.stored import StoredBuild, StoredStage, read_builds
from inference.record import Record

Story = dict[str, Any]
_TABLES = (("samples", "part"), ("prompts", "part"), ("prompts", "digests"))
"""Where an id may stand: of a sample, of a prompt without a reply, of one that is not asked."""


def find_story(out: Path, ranges: list[Range], typed: str) -> Story:
    """The story of the one sample whose id lies in the ranges, in the newest build that has it.

    Raises RecipeError where there is none or there are several.
    """
    for build in read_builds(out):
        for role, table in _TABLES:
            found = []
            for source in build.facts["sources"]:
                stage = _searched(build, source, role, table)
                if stage is not None and stage.path.is_dir():
                    rows = find(stage, ranges, table=table)
                    found += [(source, row) for row in rows.iter_rows(named=True)]
            if len({row["id"] for _, row in found}) > 1:
                ids = shown(pl.DataFrame({"id": [row["id"] for _, row in found]}))
                raise RecipeError(
                    f"{typed} begins several ids: {ids}", where=str(out), fix="give more digits"
                )
            if found:
                source, row = found[0]
                return _tell(build, source, row["part"], row["id"])
    raise RecipeError(
        f"no sample has the id {typed}",
        where=str(out),
        fix="`shardmill inspect OUT --sample 5` shows ids",
    )


def _searched(build: StoredBuild, source: str, role: str, table: str) -> StoredStage | None:
    """The stage that may hold the id; once all replies are samples, no prompt is without one."""
    samples = build.of(source, "samples")
    answered = samples is not None and samples.manifest is not None
    return None if answered and (role, table) == ("prompts", "part") else build.of(source, role)


def _tell(build: StoredBuild, source: str, part: int, id: int) -> Story:
    samples = build.of(source, "samples")
    sample = one_row(samples.file(part) if samples else None, id)
    prompts, completions = build.of(source, "prompts"), build.of(source, "completions")
    prompt = one_row(prompts.file(part) if prompts else None, id)
    reply = one_row(completions.file(part) if completions else None, id)
    story: Story = {
        "id": show_id(id),
        "out": str(build.out),
        "build": build.name,
        "source": source,
        "kind": sample["kind"] if sample else prompts.settings["kind"] if prompts else None,
        "tag": sample["tag"] if sample else None,
        "licence": sample["licence"] if sample else None,
        "seed": _seed(build, source, prompt or sample),
        "prompt": prompt and {"messages": prompt["messages"], "knobs": _json(prompt["knobs"])},
        "request": _request(completions, id),
        "reply": reply and {key: reply[key] for key in reply if key != "id"},
        "turns": _turns(build, reply),
        "sample": sample
        and {
            "text": sample["text"],
            "messages": sample["messages"],
            "tokens": sample["tokens"],
            "meta": _json(sample["meta"]),
        },
    }
    place = build.place(source, part)
    steps, fell = _steps(build, source, part, place, sample, samples)
    if prompt is None and prompts is not None:
        fell = {"stage": "prompts", "reason": "duplicate_prompt", "figures": None}
    story |= {
        "state": _state(sample, fell),
        "steps": steps,
        "fell": fell,
        "made_from_it": _children(build, source, id),
        "outputs": [
            placed(build, name, place, id)
            for name, output in build.facts["outputs"].items()
            if sample and not fell and source in output["sources"]
        ],
    }
    return story


def _state(sample: Any, fell: Any) -> str:
    return "rejected" if fell else "kept" if sample else "waiting for a reply"


def _json(text: object) -> Any:
    return json.loads(str(text)) if text else None


def _seed(build: StoredBuild, source: str, row: dict[str, Any] | None) -> Story | None:
    """The seed's columns and where it stands; of one that an earlier source made its sample."""
    stage = build.of(source, "seeds")
    if row is None or row.get("seed_id") is None:
        return None
    found: Story = {
        "id": show_id(row["seed_id"]),
        "text": row["seed_text"],
        "columns": _json(row.get("seed")),
        "from": stage.settings.get("from") if stage else None,
        "hub": stage.settings.get("hub") or None if stage else None,
        "at": None,
    }
    if stage is not None and found["from"] is None:
        for part in find(stage, [(row["seed_id"],) * 2])["part"][:1]:
            seed = one_row(stage.file(part), row["seed_id"])
            found["at"] = seed["at"] if seed else None
    return found


def _request(completions: StoredStage | None, id: int) -> Story | None:
    if completions is None:
        return None
    asked = completions.settings
    return {key: asked.get(key) for key in ("model", "revision", "sampling", "on_length")} | {
        "seed": id & 0x7FFFFFFF
    }


def _turns(build: StoredBuild, reply: dict[str, Any] | None) -> list[Story]:
    """Where a row took several requests, each reply as the record has it: its turns, and what
    was asked for where one was cut."""
    keys = reply["keys"] if reply else []
    if len(keys) < 2:
        return []
    with Record(build.out / "completions") as record:
        found = record.find(keys)
    return [vars(completion) for completion in found if completion is not None]


def _steps(
    build: StoredBuild, source: str, part: int, place: int, sample: Any, samples: Any
) -> tuple[list[Story], Story | None]:
    """What each filter said, in order, and where the sample fell."""
    if sample is None:
        return [], None
    fell = None
    if refused := one_row(samples.file(part, "verdicts"), sample["id"]):
        fell = _verdict("parse", refused)
    steps = []
    for number, step in enumerate(build.facts["steps"], 1):
        told = _step(build.stage(step["stage"]), step, place, sample, reached=fell is None)
        steps.append({"step": number, "filter": step["filter"], **told})
        if told["result"] == "rejected":
            fell = {
                "stage": f"{number} {step['filter']}",
                "reason": told["reason"],
                "figures": told["figures"],
            }
    return steps, fell


def _verdict(stage: str, row: dict[str, Any]) -> Story:
    return {"stage": stage, "reason": row["reason"], "figures": _json(row["figures"])}


def _step(stage: StoredStage, step: Story, place: int, sample: Any, *, reached: bool) -> Story:
    told: Story = {
        "knobs": stage.settings.get("knobs"),
        "result": "not reached",
        "reason": None,
        "figures": None,
        "before": None,
        "after": None,
        "notes": [],
        "cluster": None,
    }
    file, id = stage.file(place), sample["id"]
    if not reached:
        return told
    if file is None:
        return told | {"result": "not judged yet"}
    if not _in_scope(step, sample):
        return told | {"result": "out of scope"}
    told["notes"] = [
        {key: value for key, value in row.items() if key not in ("id", "source")}
        for row in rows_of(stage.file(place, "notes"), id)
    ]
    if step["cleans"] and (change := one_row(stage.file(place, "changes"), id)):
        before = {"text": change["before_text"], "messages": change["before_messages"]}
        told |= {"before": {**before, "tokens": change["before_tokens"]}, "result": "changed"}
        told["after"] = {key: change[key] for key in ("text", "messages", "tokens")}
    else:
        told["result"] = "kept"
    if verdict := one_row(file, id):
        told |= _verdict("", verdict) | {"result": "rejected"}
        told.pop("stage")
    if step["compares"]:
        told["cluster"] = cluster(stage, id, told["figures"])
    return told


def _in_scope(step: Story, sample: Any) -> bool:
    named = {sample["source"], sample["tag"]}
    return (not step["only"] or bool(named & {*step["only"]})) and not named & {*step["except"]}


def _children(build: StoredBuild, source: str, id: int) -> list[Story]:
    """What later sources made of the sample: judges' scores, and texts seeded with it."""
    found = []
    for name in build.facts["sources"]:
        seeds, samples = build.of(name, "seeds"), build.of(name, "samples")
        if seeds is None or samples is None or seeds.settings.get("from") != source:
            continue
        for row in find(samples, [(id, id)], column="seed_id").iter_rows(named=True):
            for made in rows_of(samples.file(row["part"]), id, "seed_id"):
                meta = _json(made["meta"]) or {}
                about = {key: value for key, value in meta.items() if key not in ("keys", "knobs")}
                found.append({"source": name, "id": show_id(int(str(made["id"]))), "meta": about})
    return [dict(item) for item in {child["id"]: child for child in found}.values()]
