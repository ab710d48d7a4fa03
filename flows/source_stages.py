"""The sources of a plan: what is generated, what is read, and the stages of each."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.identity import identify
from data.mapping import mapping_source
from data.parts import Stage
from data.schema import fingerprint
from flows.corpus_recipe import Corpus, Reading
from flows.engine_recipe import Sampling
from flows.inputs import read_draws
from flows.recipe import Generate, Recipe, Seeds
from inference.models import Model
from prompts import TaskKind, kind_source, load_kind


@dataclass(frozen=True)
class Source:
    """One entry of `generate`: its settings and its stages."""

    name: str
    settings: Generate
    kind: type[TaskKind]
    sampling: Sampling
    seeds: Stage
    prompts: Stage
    completions: Stage
    samples: Stage

    @property
    def stages(self) -> list[Stage]:
        return [self.seeds, self.prompts, self.completions, self.samples]

    @property
    def tag(self) -> str | None:
        return self.kind.TAG

    @property
    def trains(self) -> bool:
        return self.kind.TRAINS


@dataclass(frozen=True)
class ReadSource:
    """One entry of `corpora`: its settings and its stage."""

    name: str
    settings: Corpus
    samples: Stage
    trains: bool = True

    @property
    def stages(self) -> list[Stage]:
        return [self.samples]

    @property
    def tag(self) -> str | None:
        return self.settings.tag


AnySource = Source | ReadSource


def read_source(recipe: Recipe, name: str, settings: Corpus, out: Path) -> ReadSource:
    how = settings.identity() | _place(settings)
    how |= {"code": mapping_source(), "part_rows": recipe.part_rows}
    return ReadSource(name, settings, Stage(out, f"samples.{name}", how))


def generated_source(
    recipe: Recipe, name: str, out: Path, model: Model, made: dict[str, AnySource]
) -> Source:
    settings = recipe.generate[name]
    changes = settings.sampling.model_dump(exclude_none=True)
    sampling = recipe.engine.sampling.model_copy(update=changes)
    seeds = _seeds(settings.seeds, name, out, made)
    prompts = Stage(
        out,
        f"prompts.{name}",
        {
            "seed": recipe.seed,
            "kind": settings.kind,
            "code": kind_source(settings.kind),
            "samples": settings.samples,
            "knobs": settings.knobs,
            "vary": [fingerprint(asdict(draw)) for draw in read_draws(settings.vary)],
            "per_prompt": settings.per_prompt,
            "bad_rows": settings.seeds.bad_rows,
            "part_rows": recipe.part_rows,
        },
        [seeds],
    )
    completions = Stage(
        out,
        f"completions.{name}",
        {
            "model": model.name,
            "revision": model.revision,
            "sampling": sampling.model_dump(mode="json"),
            "on_length": settings.on_length,
            "continuations": settings.continuations,
        },
        [prompts],
    )
    samples = Stage(
        out,
        f"samples.{name}",
        {"code": kind_source(settings.kind), "licence": recipe.engine.licence},
        [prompts, completions],
    )
    kind = load_kind(settings.kind)
    return Source(name, settings, kind, sampling, seeds, prompts, completions, samples)


def _seeds(settings: Seeds, name: str, out: Path, made: dict[str, AnySource]) -> Stage:
    """Sources that read the same rows share the stage."""
    how: dict[str, Any] = {
        key: value
        for key, value in settings.model_dump(mode="json", exclude_defaults=True).items()
        if key not in ("file", "from_", "sample")
    }
    if settings.from_ is not None:
        before = made[settings.from_]
        reads = [before.prompts] if isinstance(before, Source) else []
        return Stage(out, f"seeds.{name}", how | {"from": before.name}, [*reads, before.samples])
    place = settings.file or settings.hub or ""
    title = re.sub(r"[^\w-]+", "-", Path(place).stem).strip("-") or "files"
    return Stage(out, f"seeds.{title}", how | _place(settings))


def _place(settings: Reading) -> dict[str, Any]:
    """What the rows are. A hub set is what its name and revision say: no build asks the hub
    whether it has changed."""
    place = settings.file or settings.hub or ""
    if settings.file is None and not Path(place).is_dir():
        return {}
    return {"hub": bool(settings.hub), "files": identify(place, settings.form)}
