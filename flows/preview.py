"""`shardmill preview`: what a kind asks of the model for real seeds, and what comes back."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.rule import Rule

from data import ROOT
from data.errors import RecipeError, SourceError
from flows.console import make_console

if TYPE_CHECKING:
    from flows.plan import Plan, Source
    from flows.recipe import Recipe

screen = make_console()
SOURCE = "preview"
SHIPPED = "data/seeds"
Knob = Annotated[tuple[str, ...], Parameter(name="--knob", negative=(), consume_multiple=False)]


class Watched(Mapping[str, Any]):
    """A seed that notes which of its columns are looked at."""

    def __init__(self, seed: Mapping[str, Any]) -> None:
        self._seed, self.read = seed, set[str]()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return self._seed[key]

    def __iter__(self) -> Iterator[str]:
        self.read |= set(self._seed)
        return iter(self._seed)

    def __len__(self) -> int:
        return len(self._seed)


def preview(
    kind: str,
    /,
    *,
    seeds: str | None = None,
    n: Annotated[int, Parameter(name=["-n", "--number"])] = 3,
    knob: Knob = (),
    generate: bool = False,
    endpoint: str | None = None,
    model: str = "smollm2-135m-instruct",
) -> None:
    """Show a kind's prompts for real seeds; with --generate also replies and what became of them.

    Example: shardmill preview textbook -n 2 --knob audience=college

    Example: shardmill preview demo:stories --generate

    Columns that the kind needs and the seeds lack, and columns that no prompt uses, are named.

    Parameters
    ----------
    kind
        A kind (see `shardmill list kinds`), or RECIPE:SOURCE for a source of a recipe with its
        seeds and knobs.
    seeds
        A file, folder or glob of seeds; the shipped ones that fit the kind if left out.
    n
        How many prompts.
    knob
        Set a knob of the kind: --knob words=120. May be given often.
    generate
        Ask the model: a server is started as `run` does, or --endpoint is asked.
    endpoint
        The base URL of a server that runs already, ending in /v1.
    model
        The model that is asked, where no recipe names one.
    """
    from flows.plan import make_plan
    from flows.prompting import render_prompts
    from flows.seeds import read_seeds

    if n < 1:
        raise RecipeError("-n must be at least 1")
    recipe = _recipe(kind, seeds, n, knob, endpoint, model)
    with tempfile.TemporaryDirectory(prefix="shardmill-") as folder:
        plan = make_plan(recipe, Path(folder))
        (source,) = plan.generated
        read_seeds(source)
        _flag_missing(source)
        render_prompts(source, recipe.seed, recipe.part_rows)
        replies = _replies(plan, source) if generate else []
        _show(source, replies)


def _recipe(
    kind: str, seeds: str | None, n: int, knobs: tuple[str, ...], endpoint: str | None, model: str
) -> "Recipe":
    """A recipe of the one source, without curation and outputs."""
    import yaml

    from flows.inputs import check_draws, find_input
    from flows.loading import load_recipe
    from flows.recipe import Generate, Recipe, make_knobs
    from prompts import load_kind

    name, colon, chosen = kind.rpartition(":")
    engine: dict[str, Any] = {"model": model}
    if colon:
        recipe = load_recipe(name)
        if chosen not in recipe.generate:
            raise RecipeError(
                f"{name} has no source {chosen!r}", fix=f"it has {', '.join(recipe.generate)}"
            )
        entry = recipe.generate[chosen].model_dump(by_alias=True, exclude_unset=True)
        engine = recipe.engine.model_dump(exclude_unset=True)
        seed = recipe.seed
    else:
        entry, seed = {"kind": kind, "knobs": {}}, 0
    loaded = load_kind(entry["kind"])
    given = dict(_pair(text) for text in knobs)
    given = {key: yaml.safe_load(value) for key, value in given.items()}
    make_knobs(loaded, {**entry.get("knobs", {}), **given}, entry["kind"])
    entry["knobs"] = {**entry.get("knobs", {}), **given}
    entry["vary"] = {key: v for key, v in entry.get("vary", {}).items() if key not in given}
    entry["samples"] = n
    if seeds is not None:
        entry["seeds"] = {"file": find_input(seeds, Path(seeds), "--seeds")}
    elif "seeds" not in entry:
        entry["seeds"] = {"file": str(shipped_seeds(entry["kind"]))}
    elif "from" in entry["seeds"]:
        raise RecipeError(
            f"the seeds of {chosen} are what {entry['seeds']['from']} generates",
            fix="give a file of such samples with --seeds",
        )
    entry["seeds"]["bad_rows"] = "skip"
    if endpoint is not None:
        engine = {**engine, "endpoints": [endpoint], "launch": None}
    generate = Generate.model_validate(entry)
    check_draws(generate, loaded)
    whole = {"name": SOURCE, "seed": seed, "engine": engine, "generate": {SOURCE: generate}}
    return Recipe.model_validate({**whole, "outputs": {SOURCE: {}}})


def _pair(text: str) -> tuple[str, str]:
    knob, equals, value = text.partition("=")
    if not equals or not knob:
        raise RecipeError(f"--knob {text!r} is not of the form knob=value")
    return knob, value


def shipped_seeds(kind: str) -> Path:
    """The shipped seed file that has what the kind needs and little else."""
    from data.sources import read_files
    from flows.seeds import described, wrong_column
    from prompts import load_kind

    needs = load_kind(kind).NEEDS
    fitting = []
    for path in sorted((ROOT / SHIPPED).glob("*.jsonl")):
        _, row = next(iter(read_files(str(path))), ("", {}))
        if isinstance(row, dict) and not wrong_column(row, needs):
            fitting.append((len(row), path))
    if not fitting:
        raise RecipeError(
            f"no shipped seeds fit the kind {kind}",
            fix=f"give --seeds with {described(needs) or 'one row at least'}",
        )
    return min(fitting)[1]


def _flag_missing(source: "Source") -> None:
    """Raises SourceError where a needed column is in no seed; says in how many it is missing."""
    from data.rows import read_json
    from flows.seeds import described, wrong_column

    needs = source.kind.NEEDS
    rows = [
        read_json(row.encode())
        for part in range(source.seeds.count())
        for row in source.seeds.map(part)["fields"].to_pylist()
    ]
    problems = [problem for row in rows if (problem := wrong_column(row, needs))]
    if rows and len(problems) == len(rows):
        have = ", ".join(sorted({key for row in rows[:100] for key in row}))
        raise SourceError(
            f"every seed {problems[0]}, which the kind {source.settings.kind} needs",
            where=source.settings.seeds.shown,
            fix=f"it needs {described(needs)}; the seeds have {have}",
        )
    if problems:
        screen.print(
            f"missing: {len(problems)} of {len(rows)} seeds are unfit, such as one that "
            f"{problems[0]}",
            style="yellow",
            markup=False,
        )


def _replies(plan: "Plan", source: "Source") -> list[dict[str, Any]]:
    """The rows of the samples stage, with the reply as it came and the verdict on it."""
    from flows.generation import Generation
    from flows.progress import Progress
    from flows.samples import parse_samples

    plan.check_engine()
    with Generation(plan, Progress()) as generation:
        generation.complete([source])
    parse_samples(source, plan)
    rows = []
    for part in range(source.samples.count()):
        verdicts = {row["id"]: row for row in source.samples.read(part, "verdicts").to_pylist()}
        completions = source.completions.read(part).to_pylist()
        samples = source.samples.read(part).to_pylist()
        for sample, completion in zip(samples, completions, strict=True):
            verdict = verdicts.get(sample["id"])
            rows.append({"sample": sample, "reply": completion, "verdict": verdict})
    return rows


def _show(source: "Source", replies: list[dict[str, Any]]) -> None:
    from data.rows import read_json
    from data.schema import show_id
    from prompts import load_row

    used: set[str] = set()
    columns: set[str] = set()
    prompts = [
        row
        for part in range(source.prompts.count())
        for row in source.prompts.read(part).to_pylist()
    ]
    for number, prompt in enumerate(prompts):
        seed = Watched(read_json(prompt["seed"].encode()))
        columns |= set(read_json(prompt["seed"].encode()))
        kind = load_row(source.kind, prompt["knobs"])
        kind.messages(seed)
        kind.follow_up(seed, [{"role": "assistant", "content": ""}])
        used |= seed.read
        screen.print(Rule(f"{show_id(prompt['id'])}  {prompt['knobs']}", align="left"))
        _print_messages(prompt["messages"])
        if replies:
            _print_reply(replies[number])
    screen.print(Rule())
    unused = sorted(columns - used - set(source.kind.NEEDS) - {"category", "level"})
    if unused:
        line = f"unused: no prompt here reads {', '.join(unused)} of the seeds"
        screen.print(line, style="yellow", markup=False)
    if len(prompts) < source.settings.samples:
        screen.print(f"{len(prompts)} different prompts, no more", markup=False)


def _print_messages(messages: list[dict[str, str]]) -> None:
    for message in messages:
        screen.print(f"{message['role']}:", style="bold cyan")
        screen.print(message["content"], markup=False)


def _print_reply(row: dict[str, Any]) -> None:
    reply, sample, verdict = row["reply"], row["sample"], row["verdict"]
    screen.print("reply:", style="bold green")
    screen.print(reply["error"] or reply["text"], markup=False)
    if verdict:
        figures = f" ({verdict['figures']})" if verdict["figures"] else ""
        screen.print(f"refused: {verdict['reason']}{figures}", style="red", markup=False)
        return
    screen.print(f"sample, {sample['tokens']} tokens:", style="bold green")
    if sample["messages"]:
        _print_messages(sample["messages"])
    else:
        screen.print(
            "as the reply" if sample["text"] == reply["text"] else sample["text"], markup=False
        )
