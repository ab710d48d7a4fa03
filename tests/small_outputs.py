"""Finished outputs of a few given samples: tokens and shards as a build makes them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from data.parts import Stage
from data.shards import Layout, write_shards
from flows.outputs import part_tokens
from flows.recipe import Output
from flows.rendering import resolve_output

Talk = list[tuple[str, str]]
TURN = pl.Struct({"role": pl.String, "content": pl.String})
SAMPLE: dict[str, pl.DataType] = {
    "id": pl.UInt64(),
    "tag": pl.String(),
    "text": pl.String(),
    "messages": pl.List(TURN),
    "licence": pl.String(),
}


def write_output(out: Path, name: str, samples: Sequence[str | Talk], **settings: Any) -> Path:
    """The folder of the output's shards under the build `out`."""
    output = Output.model_validate(settings)
    rendering = resolve_output(name, output)
    rows = [_row(number, sample) for number, sample in enumerate(samples)]
    frame = pl.DataFrame(rows, schema=SAMPLE)
    style = asdict(rendering.style)
    tokens = Stage(out, f"tokens.{name}", {"style": style, "count": len(rows)})
    tokens.begin()
    table = part_tokens(frame, 0, rendering, rendering.tokenizer, check=False)
    assert table is not None
    tokens.write_arrow(0, table)
    tokens.finish(sources=["given"])
    layout = Layout(
        sequence_length=output.sequence_length,
        rows_per_shard=output.rows_per_shard,
        validation=output.validation,
        seed=0,
        mix={},
        masked=rendering.style.masked,
    )
    facts = {
        "sequence_length": output.sequence_length,
        "template": output.render.template,
        "recipe": "given",
    }
    shards = Stage(out, f"shards.{name}", facts, [tokens], out / "shards" / name)
    write_shards(tokens, shards, layout, rendering.tokenizer, facts)
    return shards.folder


def _row(number: int, sample: str | Talk) -> dict[str, Any]:
    text = turns = None
    if isinstance(sample, str):
        text = sample
    else:
        turns = [{"role": role, "content": content} for role, content in sample]
    empty = {"tag": None, "licence": "cc0-1.0"}
    return {"id": number * 0x9E3779B97F4A7C15 % 2**64, "text": text, "messages": turns, **empty}
