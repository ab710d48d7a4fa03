"""What a model in training is asked to go on with, and what it wrote, side by side."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from data.encoding import encode
from data.errors import RecipeError, SourceError
from data.parts import read_manifest, write_file
from data.templates import TEMPLATES, Style, load_template
from data.tokenization import Tokenizer, load_tokenizer
from flows.checkpoints import SAMPLES
from flows.inspection import scan

PROMPTS = 4
OPENING = 16
"""Ids of a document that are given, at most; of a short one a quarter."""


@dataclass(frozen=True)
class Prompts:
    """`ids` of each prompt; `stops` end what is written behind them."""

    ids: list[list[int]]
    stops: list[int]


def find_prompts(folder: Path, manifest: dict[str, Any], texts: tuple[str, ...]) -> Prompts:
    """`texts` as the output's template puts them to a model, or beginnings of its documents.

    A conversation's beginning is what stands before the first id that is trained: its first turns
    and the template's generation prompt. Held-out documents are taken where there are any.
    """
    eos = manifest["tokenizer"]["eos"]
    stops = [] if eos is None else [eos]
    masked = "loss_spans" in manifest["columns"]
    longest = manifest["sequence_length"] - 1
    if not texts:
        there = manifest["splits"]
        splits = [name for name in ("validation", "train") if there.get(name, {}).get("rows")]
        each = (_from_rows(folder, split, longest, masked=masked) for split in splits)
        found = next(filter(None, each), [])
    elif masked:
        found = [_ask(folder, manifest, text) for text in texts]
    else:
        tokenizer = named(manifest["tokenizer"])
        found = [(tokenizer.encode([text])[0].tolist(), None) for text in texts]
    for (ids, _), text in zip(found, texts, strict=False):
        if not 0 < len(ids) <= longest:
            raise RecipeError(
                f"--prompt {text[:40]!r} has {len(ids)} tokens",
                fix=f"give 1 to {longest}, which leaves room for one more",
            )
    return Prompts(
        [ids for ids, _ in found],
        sorted({*stops, *(stop for _, stop in found if stop is not None)}),
    )


Asked = tuple[list[int], int | None]
"""A prompt, and the id that ends the turn behind it."""


def _from_rows(folder: Path, split: str, longest: int, *, masked: bool) -> list[Asked]:
    rows = scan(folder, split).filter(pl.col("doc_offsets").list.first() == 0)
    if masked:
        first = pl.col("loss_spans").list.first()
        inside = first.is_between(1, longest) & (first < pl.col("seq_lengths").list.first())
        rows = rows.filter(inside)
    found: list[Asked] = []
    for row in rows.head(4 * PROMPTS).collect().iter_rows(named=True):
        stop = None
        size = max(1, min(OPENING, row["seq_lengths"][0] // 4))
        if masked:
            size, end = row["loss_spans"][:2]
            stop = row["input_ids"][end - 1]
        asked = row["input_ids"][:size], stop
        if asked not in found:
            found.append(asked)
    return found[:PROMPTS]


def _ask(folder: Path, manifest: dict[str, Any], text: str) -> Asked:
    """A user's turn and the template's generation prompt: what precedes the trained ids of a
    conversation whose answer is a stand-in."""
    name = manifest["settings"]["template"]
    if name not in TEMPLATES:
        raise RecipeError(
            f"--prompt needs a shipped template and {folder.name} was made with {name}",
            fix="leave --prompt out: prompts are then taken from the conversations",
        )
    template = load_template(name)
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "-"}]
    sample = pl.DataFrame(
        {"row": [0], "tag": [None], "text": [None], "messages": [turns]},
        schema_overrides={"row": pl.UInt32, "tag": pl.String, "text": pl.String},
    )
    encoded = encode(
        template.render(sample, _style(folder, manifest)),
        1,
        named(manifest["tokenizer"]),
        own_space=template.own_space,
        masked=True,
    )
    start, end = encoded.spans.values[:2]
    return encoded.ids[:start].tolist(), int(encoded.ids[end - 1])


def _style(folder: Path, manifest: dict[str, Any]) -> Style:
    stage = folder.resolve().parent.parent / "stages" / manifest["inputs"][0]
    found = read_manifest(stage)
    if found is None:
        raise SourceError(
            "--prompt needs the settings of the tokens stage, which is not there",
            where=str(stage),
            fix="train from the folder of the build, with its stages, or leave --prompt out",
        )
    style = dict(found["settings"]["style"])
    return replace(Style(**{**style, "special": tuple(style["special"])}), masked=True)


def write_samples(
    folder: Path, tokenizer: Mapping[str, Any], title: str, prompts: list[list[int]]
) -> Path:
    """samples.md of a finished run: each prompt, and what followed before and after training."""
    decoder = named(tokenizer)
    written = json.loads((folder / SAMPLES).read_bytes())
    lines = [f"# {title}", ""]
    for number, prompt in enumerate(prompts):
        pieces = {"Prompt": prompt}
        pieces |= {name.title(): written[name][number] for name in ("before", "after")}
        lines += [f"## {number + 1}", ""]
        for name, ids in pieces.items():
            text = decoder.decode(ids)
            lines += [f"{name}:", "", *_fenced(text), ""]
    path = folder / "samples.md"
    write_file(path, "\n".join(lines).encode())
    return path


def named(tokenizer: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a manifest tells of."""
    return load_tokenizer(tokenizer["name"], tuple(tokenizer["added"]))


def _fenced(text: str) -> list[str]:
    """Model text as Markdown shows it letter by letter."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", text, fence]
