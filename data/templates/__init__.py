"""From samples to what is tokenized: `load_template` gives the template of a name or a file.

A template sees a frame of samples with a `row` column and the recipe's `Style`, and returns
segments of text and special tokens, a loss mask and where a conversation may be cut. Samples
that are texts, not conversations, stay as they are in chat templates.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from data.errors import RecipeError, nearest
from data.templates import chat, documents
from data.templates.segments import Rendered, Style, merge, written
from data.templates.user_file import UserFile

__all__ = [
    "SUFFIXES",
    "TEMPLATES",
    "Rendered",
    "Style",
    "Template",
    "load_template",
    "merge",
    "template_source",
    "written",
]

SUFFIXES = (".jinja", ".jinja2", ".j2")


@dataclass(frozen=True)
class Template:
    """`talks` tells whether it writes conversations that must not be split, `masks` whether
    loss can be on the assistant's turns alone; `special` are the tokens that it writes besides
    the tokenizer's own ends; `own_space` see chat.Chat."""

    about: str
    render: Callable[[pl.DataFrame, Style], Rendered]
    talks: bool = True
    masks: bool = False
    special: tuple[str, ...] = ()
    writes_bos: bool = False
    own_space: bool = False


def _chat(about: str, form: chat.Chat) -> Template:
    def render(samples: pl.DataFrame, style: Style) -> Rendered:
        chats = samples.filter(pl.col("messages").is_not_null())
        texts = samples.filter(pl.col("messages").is_null())
        segments, rejected = form.render(chats, style)
        whole = documents.plain(texts, style).segments
        both = pl.concat([segments, whole]).sort("row", maintain_order=True)
        return Rendered(both, rejected, chats["row"])

    forms = (form.start, *form.turns.values())
    return Template(
        about,
        render,
        masks=True,
        special=tuple(form.special()),
        writes_bos=any("{bos}" in written for written in forms),
        own_space=form.own_space,
    )


TEMPLATES: dict[str, Template] = {
    "plain": Template(
        "The text; a conversation as its turns' contents.", documents.plain, talks=False
    ),
    "nanophi": Template(
        "[Tag] before the text; roleplay, excerpt and response, questions and answers.",
        documents.nanophi,
    ),
    "zephyr": _chat("<|user|>, a line break, the text, </s>; an empty system turn.", chat.ZEPHYR),
    "openchat": _chat("GPT4 Correct User: text<|end_of_turn|>.", chat.OPENCHAT),
    "llama2-inst": _chat("<s> [INST] user [/INST] assistant </s>.", chat.LLAMA2),
    "chatml": _chat("<|im_start|>user, a line break, the text, <|im_end|>.", chat.CHATML),
    "piconosensox": _chat("<|user|>text, as its card prompts it.", chat.PICONOSENSOX),
    "piconosensox-trained": _chat(
        "<|user|>, a line break, the text, an end, as upstream trained.",
        chat.PICONOSENSOX_TRAINED,
    ),
}


def load_template(name: str) -> Template:
    """A template of TEMPLATES or the path of a Jinja file. Raises RecipeError for others."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    if not name.endswith(SUFFIXES):
        raise RecipeError(
            f"unknown template {name!r}", fix=f"{nearest(name, TEMPLATES)} or a {SUFFIXES[0]} file"
        )
    path = Path(name)
    if not path.is_file():
        raise RecipeError(f"the template {name} does not exist", fix="give the path of a file")
    return Template(f"The file {path.name}.", UserFile(path), masks=True)


def template_source(name: str) -> str:
    """sha256 of the template's code: tokens made with another template are other tokens."""
    own = [Path(name)] if name.endswith(SUFFIXES) else []
    files = [*sorted(Path(__file__).parent.glob("*.py")), *own]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
