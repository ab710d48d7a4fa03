"""`shardmill inspect`: what lies in a build, a stage or shards, finished or under way."""

import json as js
import sys
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from cyclopts import Parameter
from rich.text import Text

from data.errors import RecipeError
from data.parts import read_manifest
from data.store import fetch, names_in, open_path, sizes_in
from data.tokenization import Tokenizer
from flows import frames, inspection
from flows.console import make_console
from flows.inspection import Ask
from flows.showing import ends, visible
from flows.stored import StoredBuild, find_out, read_builds

screen = make_console()
Where = Annotated[str | None, Parameter(name=("--where", "--filter"))]
Reason = Annotated[list[str] | None, Parameter(consume_multiple=(0, 1), negative=())]


def inspect(
    path: Path,
    /,
    *,
    where: Where = None,
    sample: int | None = None,
    rejected: Reason = None,
    rows: int = 2,
    seed: int = 0,
    decode: bool = False,
    width: int = 100,
    json: bool = False,
) -> None:
    """Show shards, a stage or a build: schema, counts, and rows with their document borders.

    Example: shardmill inspect runs/demo/shards --rows 5 --decode

    Example: shardmill inspect runs/demo --where "tokens > 200 and tag = 'Math'" --sample 3

    Example: shardmill inspect runs/demo --rejected too_short

    A build's own page lists its stages; with --where, --sample or --rejected its samples are
    shown, each with the filter and reason that it fell for. What is under way is shown as far
    as it is.

    Parameters
    ----------
    path
        A build's folder, a folder of shards, a stage (runs/demo/stages/...) or one part of it.
    where
        A condition in SQL over the columns: "tokens > 500 and tag = 'Math'".
    sample
        Show this many rows, drawn at random, in place of rows spread evenly.
    rejected
        Only samples that fell; --rejected REASON only those that fell for it.
    rows
        How many rows to show, spread evenly.
    seed
        Of --sample: the same seed shows the same rows.
    decode
        Texts as a whole, tokens as text; trained tokens in colour on a terminal.
    width
        Characters shown from the start and the end of each text without --decode.
    json
        Print one JSON object.
    """
    if rows < 0 or width < 1 or (sample is not None and sample < 0):
        raise RecipeError("--rows and --sample must not be negative and --width must be above 0")
    ask = Ask(
        where=None if where is None else _expression(where),
        rows=rows if sample is None else sample,
        sample=sample is not None,
        seed=seed,
        whole=decode,
        width=width,
    )
    selects = where is not None or sample is not None or rejected is not None
    facts = _look(path, ask, selects, rejected)
    if json:
        sys.stdout.write(js.dumps(facts, ensure_ascii=False, indent=1, default=str) + "\n")
        return
    for found in facts["found"]:
        _show(found, ask)


def _expression(where: str) -> pl.Expr:
    try:
        return pl.sql_expr(where)
    except pl.exceptions.PolarsError as error:
        raise RecipeError(
            f"--where is no condition ({str(error).partition(chr(10))[0]})",
            fix="write it as \"tokens > 500 and tag = 'Math'\"",
        ) from error


def _look(path: Path, ask: Ask, selects: bool, rejected: list[str] | None) -> dict[str, Any]:
    """One entry a thing that was found; those of a build are its stages and then its shards."""
    reason, path = rejected[0] if rejected else None, fetch(open_path(path))
    about: dict[str, Any]
    if path.is_dir() and path.resolve().parent.name == "stages":
        stage = frames.stage_at(path.resolve())
        frame = frames.stage_frame(stage)
        about = {"what": "stage", "stage": stage.name, "state": frames.state(stage)}
        about["parts"] = len(stage.files())
    elif path.is_file():
        frame = frames.file_frame(path)
        about = {"what": "part", "state": _state_of(path)}
    elif (path / "recipes").is_dir() and selects:
        build = read_builds(path)[0]
        frame = frames.build_frame(build)
        about = {"what": "samples", "recipe": build.name, "state": _build_state(build)}
    else:
        if rejected is not None and (path / "stages").is_dir():
            raise RecipeError(
                "is of an older build, which does not tell what its stages are",
                where=str(path),
                fix="run its recipe again, nothing is made twice; or give one stage of it",
            )
        if rejected is not None:
            frames.only_rejected(pl.LazyFrame(), reason, path)
        return {"found": [*_overview(path), *_shards(path, ask)]}
    if rejected is not None:
        frame = frames.only_rejected(frame, reason, path)
    return {"found": [{"path": str(path), **about, **frames.table_facts(frame, ask, path)}]}


def _state_of(file: Path) -> str:
    manifest = read_manifest(file.parent)
    return "done" if manifest else "of a stage in progress, no manifest yet"


def _build_state(build: StoredBuild) -> str:
    undone = [name for name in build.facts["stages"] if build.stage(name).manifest is None]
    return f"in progress, {len(undone)} stages are not done" if undone else "done"


def _overview(path: Path) -> list[dict[str, Any]]:
    if not (path / "recipes").is_dir():
        return []
    return [
        {
            "path": str(path),
            "what": "build",
            "recipe": build.name,
            "state": _build_state(build),
            "stages": [
                {
                    "stage": name,
                    "state": frames.state(stage),
                    "parts": len(names_in(stage.path, "part-[0-9]*.*")),
                    "bytes": sum(sizes_in(stage.path, "*-*.*").values()),
                }
                for name in build.facts["stages"]
                for stage in [build.stage(name)]
            ],
        }
        for build in read_builds(path)
    ]


def _shards(path: Path, ask: Ask) -> list[dict[str, Any]]:
    """The shards at a path; a build under way may have none."""
    if (path / "recipes").is_dir() and not any(map(read_manifest, path.glob("shards/*"))):
        return []
    found = []
    for folder in inspection.find_outputs(path):
        matching, rows = inspection.chosen_rows(folder, ask)
        facts = inspection.shards_facts(folder)
        found.append({**facts, "matching": matching, "shown": rows})
    return found


def _show(found: dict[str, Any], ask: Ask) -> None:
    if found["what"] == "build":
        _show_build(found)
    elif found["what"] == "shards":
        folder = Path(found["path"])
        inspection.show_shards(found, screen)
        if ask.where is not None:
            screen.print(f"{found['matching']:,} rows match")
        manifest, tokenizer = read_manifest(folder) or {}, inspection.row_tokenizer(folder)
        for row in found["shown"]:
            inspection.show_row(row, manifest, tokenizer, ask, screen)
    else:
        _show_table(found, ask)


def _show_build(found: dict[str, Any]) -> None:
    head = f"{found['path']}  (recipe {found['recipe']}, {found['state']})"
    screen.print(head, style="bold", markup=False)
    widest = max(len(stage["stage"]) for stage in found["stages"])
    for stage in found["stages"]:
        screen.print(
            f"  {stage['stage']:<{widest}}  {stage['parts']:>5} parts  "
            f"{stage['bytes'] / 1e6:>9,.1f} MB  {stage['state']}",
            style="" if stage["state"] == "done" else "yellow",
            markup=False,
        )


def _show_table(found: dict[str, Any], ask: Ask) -> None:
    parts = f", {found['parts']} parts" if "parts" in found else ""
    head = f"{found['path']}  ({found['state']}{parts})"
    screen.print(head, style="bold", markup=False)
    columns = (f"{name} {kind}" for name, kind in found["schema"].items())
    screen.print(f"columns: {', '.join(columns)}", markup=False)
    screen.print(f"{found['rows']:,} rows", style="bold")
    for group in found["groups"]:
        names = " ".join(str(v) for k, v in group.items() if k not in ("rows", "tokens") and v)
        tokens = f", {group['tokens']:,} tokens" if "tokens" in group else ""
        screen.print(f"  {names or 'all'}: {group['rows']:,}{tokens}", markup=False)
    tokenizer = _tokenizer(Path(found["path"])) if "input_ids" in found["schema"] else None
    for row in found["shown"]:
        _show_fields(row, tokenizer, ask)


def _show_fields(row: dict[str, Any], tokenizer: Tokenizer | None, ask: Ask) -> None:
    if tokenizer is not None:
        spans = row.get("loss_spans")
        pairs = [list(pair) for pair in zip(spans[::2], spans[1::2], strict=True)] if spans else []
        ids, about = row["input_ids"], f"{row['id']}, {len(row['input_ids'])} tokens"
        masked = None if spans is None else pairs
        inspection.show_tokens(about, ids, masked, tokenizer, ask, screen)
        return
    inspection.border(f"{row.get('id', '')}", screen)
    for name, value in row.items():
        if name == "id" or value in (None, "", []):
            continue
        if name == "messages":
            for turn in value:
                _field(turn["role"], turn["content"], ask)
        else:
            _field(name, str(value), ask)


def _field(name: str, value: str, ask: Ask) -> None:
    text = visible(value).replace("\n", "\n    ") if ask.whole else ends(value, ask.width)
    screen.print(Text(f"  {name}: ", style="bold") + Text(text, style="not bold"))


def _tokenizer(path: Path) -> Tokenizer | None:
    """Of the output whose tokens a stage holds, by the recipe that the build stored."""
    from flows.loading import load_recipe  # noqa: PLC0415 - reads every kind and filter
    from flows.rendering import resolve_output  # noqa: PLC0415

    stage = path.resolve() if path.is_dir() else path.resolve().parent
    for build in read_builds(find_out(path)):
        name = frames.tokenizer_name(build, frames.stage_at(stage))
        if name is not None:
            output = load_recipe(str(build.recipe_file)).outputs[name]
            return resolve_output(name, output).tokenizer
    return None
