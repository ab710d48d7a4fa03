"""From a recipe to its stages: which folders a build fills and what each one reads.

Every stage's identity follows from settings, code and upstream identities alone, so the whole
graph stands before anything runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data.errors import RecipeError
from data.leases import Leases
from data.parts import Stage
from data.store import open_out
from data.templates import template_source
from filters import Judge, filter_source, load_filter
from flows.loading import load_recipe
from flows.recipe import CurationStep, Output, Recipe, make_knobs
from flows.rendering import resolve_output
from flows.source_stages import AnySource, ReadSource, Source, generated_source, read_source
from inference.models import Model, engine_python, resolve

__all__ = ["AnySource", "Plan", "ReadSource", "Source", "Step", "Target", "make_plan", "plan_build"]


@dataclass(frozen=True)
class Step:
    """One entry of `curate`; its stage holds the verdicts on all sources' samples."""

    settings: CurationStep
    judge: Judge
    verdicts: Stage


@dataclass(frozen=True)
class Target:
    """One entry of `outputs`."""

    name: str
    settings: Output
    sources: tuple[str, ...]
    tokens: Stage
    shards: Stage


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    out: Path
    served: Model | None
    """None where nothing is generated."""
    generated: tuple[Source, ...]
    read: tuple[ReadSource, ...]
    steps: tuple[Step, ...]
    targets: tuple[Target, ...]
    leases: Leases | None = None
    """Held where other builds make parts of the same stages."""

    @property
    def sources(self) -> tuple[AnySource, ...]:
        return (*self.generated, *self.read)

    @property
    def model(self) -> Model:
        """Raises RecipeError where the recipe names none."""
        if self.served is None:
            raise RecipeError("engine is missing", fix="name the model that generates")
        return self.served

    def stages(self) -> Iterator[Stage]:
        """Each stage once, in the order of a build."""
        groups = [
            [source.samples for source in self.read],
            *([stage for source in level for stage in source.stages] for level in self.levels),
            [step.verdicts for step in self.steps],
            *([target.tokens, target.shards] for target in self.targets),
        ]
        seen: set[Path] = set()
        for stage in (stage for group in groups for stage in group):
            if stage.folder not in seen:
                seen.add(stage.folder)
                yield stage

    @property
    def done(self) -> bool:
        return all(stage.done for stage in self.stages())

    def check_engine(self) -> None:
        """Raises EngineError where a server would have to be launched and cannot be."""
        if all(source.completions.done for source in self.generated):
            return
        if launch := self.recipe.engine.launches:
            engine_python(launch.python)

    @property
    def levels(self) -> list[list[Source]]:
        """Generated sources in the order of their seeds: each level needs only those before it
        and what is read."""
        levels: list[list[Source]] = []
        placed = {source.name for source in self.read}
        while len(placed) < len(self.sources):
            level = [
                source
                for source in self.generated
                if source.name not in placed
                and (source.settings.seeds.from_ is None or source.settings.seeds.from_ in placed)
            ]
            levels.append(level)
            placed |= {source.name for source in level}
        return levels

    def describe(self) -> str:
        stages = list(self.stages())
        return f"{sum(stage.done for stage in stages)} of {len(stages)} stages are done"


def plan_build(
    name: str,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    scale: float = 1.0,
    *,
    offline: bool = False,
    check: bool = True,
) -> Plan:
    """The plan of a shipped recipe or a recipe file; `out` is runs/<name> where left out, or an
    address of an object store."""
    recipe = load_recipe(name, overrides, scale, offline=offline)
    return make_plan(recipe, open_out(out or Path("runs") / recipe.name), check=check)


def make_plan(recipe: Recipe, out: Path, *, check: bool = True) -> Plan:
    """Raises RecipeError for a tokenizer or a model that cannot be found, and, with `check`, for
    what filters need and cannot load, such as a benchmark."""
    model = None
    if recipe.generate:
        model = resolve(recipe.engine.model, recipe.engine.revision)
    read = tuple(
        read_source(recipe, name, settings, out) for name, settings in recipe.corpora.items()
    )
    made: dict[str, AnySource] = {source.name: source for source in read}
    while model is not None and len(made) < len(recipe.names):
        for name, settings in recipe.generate.items():
            if name not in made and (settings.seeds.from_ is None or settings.seeds.from_ in made):
                made[name] = generated_source(recipe, name, out, model, made)
    sources = tuple(made[name] for name in recipe.names)
    generated = tuple(source for source in sources if isinstance(source, Source))
    steps = tuple(_steps(recipe, out, sources, check))
    targets = tuple(_target(recipe, name, out, sources, steps) for name in recipe.outputs)
    return Plan(recipe, out, model, generated, read, steps, targets)


def _steps(
    recipe: Recipe, out: Path, sources: tuple[AnySource, ...], check: bool
) -> Iterator[Step]:
    """Each step reads the verdicts before it: a sample gets one verdict, the first."""
    reads = [source.samples for source in sources]
    for number, entry in enumerate(recipe.curate, 1):
        judge = make_knobs(load_filter(entry.filter), entry.knobs, entry.filter)
        if check:
            judge.check()
        verdicts = Stage(
            out,
            f"verdicts.{number}.{entry.filter}",
            {
                "knobs": judge.model_dump(mode="json"),
                "code": filter_source(entry.filter),
                "only": list(entry.only),
                "except": list(entry.except_),
                **({"files": files} if (files := judge.files()) else {}),
            },
            list(reads),
        )
        yield Step(entry, judge, verdicts)
        reads = [*(source.samples for source in sources), verdicts]


def _target(
    recipe: Recipe, name: str, out: Path, sources: tuple[AnySource, ...], steps: tuple[Step, ...]
) -> Target:
    settings = recipe.outputs[name]
    chosen = tuple(
        source.name
        for source in sources
        if (source.name in settings.mix if settings.mix else source.trains)
    )
    style = resolve_output(name, settings)
    tokenizer = style.tokenizer
    template = Path(settings.render.template).name
    tokens = Stage(
        out,
        f"tokens.{name}",
        {
            "tokenizer": [tokenizer.sha256, tokenizer.vocabulary, tokenizer.eos],
            "template": template,
            "templates": template_source(settings.render.template),
            "style": asdict(style.style),
            "sources": list(chosen),
        },
        [source.samples for source in sources] + [step.verdicts for step in steps[-1:]],
    )
    shards = Stage(
        out,
        f"shards.{name}",
        {
            "seed": recipe.seed,
            "sequence_length": settings.sequence_length,
            "rows_per_shard": settings.rows_per_shard,
            "validation": settings.validation,
            "amounts": {source: asdict(mix.amount) for source, mix in settings.mix.items()},
            "pack": settings.pack,
            "too_long": settings.render.too_long,
            "loss": "assistant" if style.style.masked else "all",
            "recipe": recipe.name,
            **({"model": recipe.engine.model} if recipe.generate else {}),
            "template": template,
            "tokenizer_name": settings.tokenizer,
        },
        [tokens],
        at=out / "shards" / name,
    )
    return Target(name, settings, chosen, tokens, shards)
