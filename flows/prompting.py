"""The prompts stage: each row's seed and knobs, what is asked of the model, and no prompt twice.

Around the kind's own `messages` everything goes by columns: a part's ids, knobs and digests are
made from arrays and string columns, never from a dict a row.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pyarrow as pa

from data import schema
from data.parts import Stage
from data.rows import read_json
from flows.draws import Draw, deal, sequence
from flows.inputs import read_draws
from flows.plan import Source
from flows.recipe import make_knobs
from flows.seeds import Deck, open_deck
from flows.stages import Missing, Runner, run_parts
from prompts import TaskKind

Ints = npt.NDArray[np.int64]
DUPLICATE = "duplicate_prompt"


def render_prompts(source: Source, seed: int, part_rows: int, run: Runner = run_parts) -> None:
    """At most `samples` prompts: seeds in the order of a seeded hash, again with other draws when
    used up. What would be asked more than `per_prompt` times is left out and counted."""
    stage, settings = source.prompts, source.settings
    if stage.done:
        return
    deck = open_deck(source, seed)
    draws = read_draws(settings.vary)
    rows = settings.samples
    drawn = [sequence(draw, rows, seed, source.name) for draw in draws]
    slots = deal(drawn, rows, len(deck.ids), settings.per_prompt)
    dealt = np.flatnonzero(slots >= 0)
    renderer = Renderer(source, seed, deck, draws)

    def work(index: int) -> None:
        here = dealt[index * part_rows : (index + 1) * part_rows]
        table, digests = renderer.render(slots[here], [choices[here] for choices in drawn])
        stage.write(index, digests, "digests")
        stage.write(index, table)

    parts = -(-len(dealt) // part_rows)
    stage.begin()

    def there(index: int) -> bool:
        return stage.has(index) and stage.has(index, "digests")

    run(stage.name, work, Missing(range(parts), there))
    if stage.done:  # by another build
        return
    repeated = _drop_repeated(stage, parts, settings.per_prompt)
    stage.finish(
        rows=len(dealt) - repeated,
        duplicates=rows - len(dealt) + repeated,
        seeds=len(deck.ids),
        unfit_seeds=deck.unfit,
    )


def _drop_repeated(stage: Stage, parts: int, per_prompt: int) -> int:
    """Rewrite the parts that hold a prompt of another row; the first rows in order stay. Digests
    stay whole, so that a build that is cut off here drops the same rows again."""
    tables = [
        pl.DataFrame(stage.read(part, "digests")).with_columns(part=pl.lit(part))
        for part in range(parts)
    ]
    digests = pl.concat(tables)
    repeated = digests.filter(pl.int_range(pl.len()).over("digest") >= per_prompt)
    for (part,), rows in repeated.group_by("part"):
        prompts = stage.read(int(str(part)))
        kept = ~pl.Series(prompts["id"]).is_in(rows["id"].implode())
        if not kept.all():
            stage.write(int(str(part)), prompts.filter(kept.to_arrow()))
    return len(repeated)


class Renderer:
    """Rows of the prompts stage from slots and choices (see flows/draws.py)."""

    def __init__(self, source: Source, seed: int, deck: Deck, draws: list[Draw]) -> None:
        self._source, self._deck, self._draws = source, deck, draws
        fixed = source.settings.knobs
        drawn = {
            knob: (number, [_pair(knob, values[place]) for values in draw.values])
            for number, draw in enumerate(draws)
            for place, knob in enumerate(draw.knobs)
        }
        constant = {knob: (-1, [_pair(knob, value)]) for knob, value in fixed.items()}
        self._pairs = sorted({**constant, **drawn}.items())
        self._start = schema.canonical(["prompt", seed, source.name, source.settings.kind])[:-1]
        self._kinds: dict[str, TaskKind] = {}
        follows = source.kind.follow_up is not TaskKind.follow_up
        self._exchange = follows
        """Whether later turns depend on more than the first messages show."""

    def render(self, slots: Ints, choices: list[Ints]) -> tuple[pa.Table, pa.Table]:
        """The prompts and their digests.

        An id follows from the seed row and the draws alone, so that more samples leave the
        prompts that are there as they are.
        """
        numbers, turns = slots % len(self._deck.ids), slots // len(self._deck.ids)
        seed_ids = self._deck.ids[numbers]
        knobs = self._knobs(choices, len(slots))
        made_by = pl.select(
            pl.format(
                "{},{},{},{}]",
                pl.lit(self._start.decode()),
                pl.lit(pl.Series(seed_ids)),
                pl.lit(pl.Series(turns)),
                pl.lit(knobs),
            )
        ).to_series()
        fields = self._deck.take(numbers)
        seeds = [read_json(row.encode()) for row in fields]
        kinds = [self._kind(row) for row in knobs.to_list()]
        pairs = list(zip(kinds, seeds, strict=True))
        messages = [kind.messages(seed) for kind, seed in pairs]
        texts = [kind.topic(seed) for kind, seed in pairs]
        asked = [orjson.dumps(turn) for turn in messages]
        if self._exchange:
            rest = zip(asked, fields, knobs.to_list(), strict=True)
            asked = [turn + f"{row}{knob}".encode() for turn, row, knob in rest]
        ids = schema.hash_rows([row.encode() for row in made_by.to_list()])
        categories = [seed.get("category") for seed in seeds]
        table = pa.table(
            {
                "id": ids,
                "seed_id": [
                    int(seed["from_id"], 16) if "from_id" in seed else id
                    for seed, id in zip(seeds, seed_ids.tolist(), strict=True)
                ],
                "seed_text": texts,
                "topic": [str(a or b) for a, b in zip(categories, texts, strict=True)],
                "format": [kind.format() for kind in kinds],
                "audience": [getattr(kind, "audience", None) for kind in kinds],
                "knobs": knobs.to_arrow(),
                "seed": fields,
                "messages": _listed(messages),
            },
            schema=schema.PROMPTS,
        )
        return table, pa.table(
            {"id": ids, "digest": schema.hash_rows(asked)}, schema=schema.DIGESTS
        )

    def _knobs(self, choices: list[Ints], rows: int) -> pl.Series:
        """Each row's knobs as JSON with sorted keys."""
        columns = [
            pl.lit(pl.Series(pairs, dtype=pl.String).gather(choices[number]))
            if number >= 0
            else pl.lit(pairs[0])
            for _, (number, pairs) in self._pairs
        ]
        joined = pl.concat_str(columns, separator=",") if columns else pl.lit("")
        one = pl.select(pl.concat_str(pl.lit("{"), joined, pl.lit("}"))).to_series()
        return one if len(one) == rows else one.new_from_index(0, rows)

    def _kind(self, knobs: str) -> TaskKind:
        kind = self._kinds.get(knobs)
        if kind is None:
            if len(self._kinds) > 100_000:
                self._kinds.clear()
            values = orjson.loads(knobs)
            kind = make_knobs(self._source.kind, values, self._source.settings.kind)
            self._kinds[knobs] = kind
        return kind


def _pair(knob: str, value: Any) -> str:
    return schema.canonical({knob: value}).decode()[1:-1]


def _listed(messages: list[list[dict[str, str]]]) -> pa.Array:
    """Lists of messages from flat columns: Arrow's own way from dicts takes ten times as long."""
    offsets = np.zeros(len(messages) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, messages), np.int32, len(messages)), out=offsets[1:])
    flat = [message for turns in messages for message in turns]
    columns = [pa.array([m[key] for m in flat], pa.string()) for key in ("role", "content")]
    structs = pa.StructArray.from_arrays(columns, fields=list(schema.MESSAGE))
    return pa.ListArray.from_arrays(pa.array(offsets), structs)


def duplicates(source: Source) -> int:
    """Prompts that were left out because they would have been asked already."""
    return int((source.prompts.manifest or {}).get("duplicates", 0))


def prompt_losses(source: Source) -> Iterator[str]:
    """A line for each thing that a source has less of than its recipe says."""
    facts, settings = source.prompts.manifest or {}, source.settings
    skipped = source.seeds.read(0, "skipped").num_rows if source.seeds.has(0, "skipped") else 0
    if skipped or facts.get("unfit_seeds"):
        yield (
            f"{source.name}: {skipped} rows of {settings.seeds.shown} cannot be read and "
            f"{facts['unfit_seeds']} lack what {settings.kind} needs; they are skipped"
        )
    if lost := duplicates(source):
        yield (
            f"{source.name}: {lost} of {settings.samples} prompts would be asked again and are "
            f"left out; {facts['seeds']} seeds and the knobs under vary give no more, so add "
            "either, or set per_prompt"
        )
