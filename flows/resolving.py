"""A recipe made ready to plan: read from samples, its paths absolute, its sizes scaled."""

from pathlib import Path
from typing import Any

from data.errors import RecipeError
from flows.corpus_recipe import Reading
from flows.engine_recipe import HUGE
from flows.filter_knobs import anchored_step, offline_step
from flows.inputs import anchored, anchored_rows
from flows.recipe import Recipe
from flows.rendering import anchor_output, scale_output


def offline_recipe(recipe: Recipe, where: Any) -> Recipe:
    """Raises RecipeError for a hub set without a sample."""
    generate, corpora = dict(recipe.generate), dict(recipe.corpora)
    for name, source in recipe.generate.items():
        _check_sample(source.seeds, where(("generate", name, "seeds")))
        generate[name] = source.model_copy(update={"seeds": source.seeds.offline()})
    for name, corpus in recipe.corpora.items():
        _check_sample(corpus, where(("corpora", name)))
        corpora[name] = corpus.offline()
    curate = tuple(offline_step(step) for step in recipe.curate)
    return recipe.model_copy(update={"generate": generate, "corpora": corpora, "curate": curate})


def _check_sample(settings: Reading, where: str) -> None:
    if settings.far and settings.sample is None:
        raise RecipeError(
            f"the hub set {settings.hub} has no sample to read with --offline",
            where=where,
            fix="give one: sample: FILE",
        )


def anchored_recipe(recipe: Recipe, path: Path) -> Recipe:
    """Seed files beside the recipe, in the current folder or in the project, made absolute."""
    generate = dict(recipe.generate)
    for name, source in recipe.generate.items():
        generate[name] = anchored(source, path, f"generate.{name}")
    corpora = {
        name: anchored_rows(corpus, path, f"corpora.{name}")
        for name, corpus in recipe.corpora.items()
    }
    curate = tuple(anchored_step(step, path, n) for n, step in enumerate(recipe.curate))
    outputs = {name: anchor_output(output, path) for name, output in recipe.outputs.items()}
    changed = {"generate": generate, "corpora": corpora, "curate": curate, "outputs": outputs}
    return recipe.model_copy(update=changed)


FEEDING = 8
"""Samples that stay of a source which others are seeded from: of one or two, none may be kept."""


SAMPLED = 100_000
"""Samples at most of a build whose seeds are read from shipped samples of some 40 rows."""


def scaled_recipe(recipe: Recipe, scale: float, *, offline: bool) -> Recipe:
    """Raises RecipeError for a scale that is none, and, `offline`, for one that would draw
    millions of prompts from a handful of seeds."""
    if not 0 < scale <= HUGE:
        raise RecipeError(f"--scale {scale} is not above 0 and finite")
    feeding = {source.seeds.from_ for source in recipe.generate.values()}
    generate = {}
    for name, source in recipe.generate.items():
        least = min(source.samples, FEEDING) if name in feeding else 1
        samples = max(least, round(source.samples * scale))
        generate[name] = source.model_copy(update={"samples": samples})
    corpora = {name: corpus.scaled(scale) for name, corpus in recipe.corpora.items()}
    outputs = {
        name: scale_output(output, scale, offline=offline)
        for name, output in recipe.outputs.items()
    }
    asked = sum(source.samples for source in generate.values() if source.seeds.sample is not None)
    if offline and asked > SAMPLED:
        raise RecipeError(
            f"asks for {asked:,} samples of the few seeds that --offline reads",
            where=recipe.name,
            fix=f"add --scale {_plain(scale * 100 / asked)} for about a hundred",
        )
    changed = {"generate": generate, "corpora": corpora, "outputs": outputs}
    return recipe.model_copy(update=changed)


def _plain(scale: float) -> str:
    """One digit, without an exponent."""
    return f"{float(f'{scale:.0e}'):.12f}".rstrip("0")
