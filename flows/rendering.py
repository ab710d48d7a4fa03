"""An output's template, tokenizer and style, from its settings in the recipe."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import ROOT
from data.errors import RecipeError
from data.templates import SUFFIXES, TEMPLATES, Style, Template, load_template
from data.tokenization import PACKAGED, WORDS, Tokenizer, load_tokenizer
from flows.recipe import Output

TEXT_END = "<eot>"


@dataclass(frozen=True)
class Rendering:
    template: Template
    tokenizer: Tokenizer
    style: Style


def resolve_output(name: str, settings: Output) -> Rendering:
    """Raises RecipeError where the settings do not go together, or for an unknown tokenizer."""
    render = settings.render
    template = load_template(render.template)
    masked = template.masks if render.loss is None else render.loss == "assistant"
    where = f"outputs.{name}"
    if masked and not template.masks:
        raise RecipeError(
            f"the template {render.template} has no assistant's turns to train on",
            where=f"{where}.render.loss",
            fix="choose loss: all or a chat template",
        )
    if masked and settings.pack == "concat":
        raise RecipeError(
            "a stream cut into rows would split conversations",
            where=f"{where}.pack",
            fix="choose pack: best_fit or loss: all",
        )
    base = load_tokenizer(settings.tokenizer)
    end = render.end_of_text or ("token" if base.eos_token else "none")
    if end == "token" and base.eos_token is None:
        raise RecipeError(
            f"the tokenizer {base.name} has no end-of-text token",
            where=f"{where}.render.end_of_text",
            fix="choose none or text",
        )
    added = [*template.special, *render.special]
    if template.writes_bos and base.bos_token is None:
        added.append("<s>")
    if template.masks and base.eos_token is None:
        added.append("</s>")
    style = Style(
        eos=base.eos_token,
        bos=base.bos_token,
        end={"token": base.eos_token, "text": TEXT_END, "none": None}[end],
        end_is_text=end == "text",
        system=render.system,
        masked=masked,
        special=render.special,
    )
    return Rendering(template, load_tokenizer(settings.tokenizer, tuple(added)), style)


def anchor_output(output: Output, path: Path) -> Output:
    """The files that an output of the recipe at `path` names, made absolute.

    Raises RecipeError for a template that cannot be read.
    """
    bases = (path.resolve().parent, Path.cwd())
    template = output.render.template
    if template not in TEMPLATES:
        places = (base / template for base in (*bases, ROOT))
        template = str(next((place for place in places if place.is_file()), template))
        if template.endswith(SUFFIXES):  # others are checked with their line
            load_template(template)
    render = output.render.model_copy(update={"template": template})
    tokenizer = output.tokenizer
    if tokenizer not in PACKAGED and not tokenizer.startswith(WORDS):
        with contextlib.suppress(OSError, ValueError):
            places = (base / tokenizer for base in bases)
            found = (p for p in places if (p / "tokenizer.json").is_file() or p.is_file())
            tokenizer = str(next((place.resolve() for place in found), tokenizer))
    return output.model_copy(update={"render": render, "tokenizer": tokenizer})


def scale_output(output: Output, scale: float, *, offline: bool) -> Output:
    """Token budgets of the mix times `scale`; where samples stand for the corpora, what cannot be
    met is capped."""
    mix = {}
    for source, amount in output.mix.items():
        change: dict[str, Any] = {"cap": True} if offline and amount.amount.unit != "repeat" else {}
        if amount.tokens is not None:
            change["tokens"] = max(1, round(amount.tokens * scale))
        mix[source] = amount.model_copy(update=change)
    return output.model_copy(update={"mix": mix})
