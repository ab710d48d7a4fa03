"""A build whose samples are given in place of generated."""

from collections.abc import Iterable
from typing import Any

import polars as pl
import pyarrow as pa

from data import schema
from flows.plan import Plan


def recipe(curate: list[Any]) -> dict[str, Any]:
    """A recipe of one source, to be written as YAML."""
    return {
        "name": "made",
        "engine": {"model": "fake", "endpoints": ["http://127.0.0.1:9/v1"]},
        "generate": {
            "made": {
                "kind": "textbook",
                "seeds": {"file": "data/seeds/topics.jsonl"},
                "samples": 1,
            }
        },
        "curate": curate,
        "outputs": {"pretrain": {"sequence_length": 128}},
    }


def write_samples(plan: Plan, tables: Iterable[pa.Table], number: int = 0) -> None:
    """Fill a source's samples stage with tables of `text` and what else they have."""
    stage = plan.sources[number].samples
    stage.begin()
    columns = dict(pl.DataFrame(schema.SAMPLES.empty_table()).schema)
    for index, table in enumerate(tables):
        given = pl.DataFrame(table)
        words = pl.col("text").fill_null("").str.count_matches(r"\S+").cast(pl.Int32)
        frame = given.with_columns(source=pl.lit(plan.sources[number].name), tokens=words).select(
            pl.col(name).cast(kind)
            if name in (*given.columns, "source", "tokens")
            else pl.lit(None, kind).alias(name)
            for name, kind in columns.items()
        )
        stage.write(index, frame.to_arrow().cast(schema.SAMPLES))
        stage.write(index, schema.VERDICTS.empty_table(), "verdicts")
    stage.finish()
