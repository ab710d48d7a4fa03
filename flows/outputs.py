"""The stages of an output: kept samples to tokens, tokens to packed shards."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from data import schema
from data.encoding import Encoded, Lists, encode, sample_agrees
from data.parts import write_file
from data.shards import FACTS, Layout, write_shards
from data.store import fetch_all, remove
from data.tokenization import Tokenizer
from filters.duplicates import join_pairs
from flows.plan import Plan, Target
from flows.rendering import Rendering, resolve_output
from flows.stages import Missing, Runner, kept_samples, run_parts, sample_part, sample_parts

REFERENCE = "reference"
"""A file in a tokens stage all of whose parts were made by the reference encoder."""


def tokenize(
    plan: Plan, target: Target, say: Callable[[str], None], run: Runner = run_parts
) -> None:
    """Kept samples of the output's sources as ids, in the form of its template.

    A sample of each part is encoded by the reference too; where one text differs, every part
    is made again by the reference, so that an output never mixes the two.
    """
    stage = target.tokens
    if stage.done:
        return
    parts = sample_parts(plan)
    stage.begin()
    marker = stage.folder / REFERENCE

    def work(index: int) -> None:
        rendering = resolve_output(target.name, target.settings)  # kept by the process
        source, _ = sample_part(plan, index)
        table, slow = None, marker.is_file()
        if source.name in target.sources:
            tokenizer = rendering.tokenizer
            number = target.sources.index(source.name)
            samples = kept_samples(plan, index)
            table = part_tokens(
                samples,
                number,
                rendering,
                tokenizer.by_reference() if slow else tokenizer,
                check=not slow,
            )
            if table is None:
                return
        if slow != marker.is_file():  # what another build has found meanwhile
            return
        stage.write_arrow(index, _schema(rendering).empty_table() if table is None else table)

    def there(index: int) -> bool:
        return stage.has(index, suffix="arrow")

    def make() -> None:
        run(stage.name, work, Missing(range(len(parts)), there))

    make()
    if differing := Missing(range(len(parts)), there):
        say(
            f"{stage.name}: the fast encoder differs from the reference in part {differing[0]}; "
            "all parts are tokenized again by the reference"
        )
        with stage.turn():
            if not marker.is_file():  # another build was quicker
                remove(*stage.folder.glob("*.arrow"))
                write_file(marker, b"")
        make()
    encoder = "reference" if marker.is_file() else "fast"
    stage.finish(sources=list(target.sources), encoder=encoder)


def _schema(rendering: Rendering) -> pa.Schema:
    kind = schema.id_type(rendering.tokenizer.vocabulary)
    return schema.tokens_schema(kind, masked=rendering.style.masked, talks=rendering.template.talks)


def part_tokens(
    samples: pl.DataFrame, source: int, rendering: Rendering, tokenizer: Tokenizer, *, check: bool
) -> pa.Table | None:
    """Tokens of one part; None where a sampled text of it differs from the reference's."""
    template, style = rendering.template, rendering.style
    samples = samples.with_row_index("row")
    rendered = template.render(samples, style)
    ids = samples["id"].to_numpy()
    if check and not sample_agrees(rendered, ids, tokenizer, own_space=template.own_space):
        return None
    encoded = encode(
        rendered, len(samples), tokenizer, own_space=template.own_space, masked=style.masked
    )
    table = _table(ids, source, encoded, _schema(rendering))
    rejected = encoded.rejected
    if len(rejected):
        kept = np.ones(len(samples), bool)
        kept[rejected["row"].to_numpy()] = False
        table = table.filter(pa.array(kept))
    facts = {
        "dropped": dict(rejected.group_by("reason").len().sort("reason").iter_rows()),
        "rejected": [
            [schema.show_id(int(ids[row])), reason, detail]
            for row, reason, detail in rejected.sort("row").iter_rows()
        ],
        "disagreements": encoded.disagreeing,
        "licences": {source: samples["licence"].fill_null("unknown").unique().sort().to_list()},
    }
    return table.replace_schema_metadata({FACTS: json.dumps(facts)})


def _table(
    ids: npt.NDArray[np.uint64], source: int, encoded: Encoded, columns: pa.Schema
) -> pa.Table:
    kind = columns.field("input_ids").type.value_type
    values = pa.array(encoded.ids.astype(kind.to_pandas_dtype(), copy=False), kind)

    def lists(found: Lists) -> pa.Array:
        return pa.ListArray.from_arrays(
            pa.array(found.offsets.astype(np.int32)), pa.array(found.values, pa.uint32())
        )

    arrays = {
        "id": pa.array(ids, pa.uint64()),
        "source": pa.array(np.full(len(ids), source, np.uint8)),
        "input_ids": pa.LargeListArray.from_arrays(pa.array(encoded.offsets), values),
        "loss_spans": lists(encoded.spans),
        "cuts": lists(encoded.cuts),
    }
    return pa.Table.from_arrays([arrays[name] for name in columns.names], schema=columns)


def pack(
    plan: Plan,
    target: Target,
    run: Runner = run_parts,
    wrote: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """The output's shards, their manifest last; for `wrote` see write_shards."""
    if target.shards.done:
        return
    settings = target.settings
    masked = resolve_output(target.name, settings).style.masked
    layout = Layout(
        sequence_length=settings.sequence_length,
        rows_per_shard=settings.rows_per_shard,
        validation=settings.validation,
        seed=plan.recipe.seed,
        mix={name: mix.amount for name, mix in settings.mix.items()},
        pack=settings.pack,
        too_long=settings.render.too_long,
        masked=masked,
    )

    def work(index: int) -> None:
        write_shards(
            target.tokens,
            target.shards,
            layout,
            resolve_output(target.name, settings).tokenizer,
            target.shards.settings,
            duplicate_clusters(plan),
            wrote,
        )

    run(target.shards.name, work, Missing([0], lambda _: target.shards.done))


def shortfalls(target: Target) -> Iterator[str]:
    """A line for each source that has fewer tokens than the mix asks for and is capped."""
    for name, given in (target.shards.manifest or {}).get("mix", {}).items():
        mix = target.settings.mix.get(name)
        if mix is None or mix.tokens is None or given["available"] * mix.max_repeat >= mix.tokens:
            continue
        yield (
            f"{target.name}: {name} has {given['available']:,} training tokens of the "
            f"{mix.tokens:,} that the mix asks for; all are taken"
        )


def leftovers(plan: Plan) -> list[Path]:
    """Folders of shards under OUT that no output of the recipe fills."""
    ours = {target.shards.folder for target in plan.targets}
    return sorted(f for f in (plan.out / "shards").glob("*") if f.is_dir() and f not in ours)


def duplicate_clusters(
    plan: Plan,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]] | None:
    """Ids of near-duplicates (sorted) and the cluster of each, as the filters that compare
    samples found them (`clusters-*.parquet`); what one of them joins is one cluster."""
    tables = [
        pl.read_parquet(file, columns=["id", "cluster"], glob=False)
        for step in plan.steps
        for file in fetch_all(step.verdicts.folder, "clusters-*.parquet")
    ]
    if not tables:
        return None
    pairs = pl.concat(tables)
    ids = pairs["id"].unique().sort().to_numpy()
    # a cluster is named by one of its samples
    first, second = (np.searchsorted(ids, pairs[name].to_numpy()) for name in ("id", "cluster"))
    return ids, ids[join_pairs(len(ids), first, second)]
