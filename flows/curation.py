"""Curate: each filter writes verdicts on the samples that the filters before it kept.

Neighbouring row filters and cleaners share one pass over a part: it is read once, and each
filter of the run writes its own stage. Samples themselves are never copied; of what a cleaner
changes, the rows that it changed are kept beside its verdicts, before and after.
"""

import itertools
import json
from collections.abc import Sequence

import polars as pl

from data import schema
from data.errors import ShardmillError
from data.tokenization import load_tokenizer
from filters import Cleaner, CorpusFilter, Filter
from filters.measures import measure
from filters.texts import body
from flows.corpus import SKETCHES, StoredCorpus
from flows.plan import Plan, Step
from flows.stages import Missing, Runner, apply_changes, kept_samples, run_parts, sample_parts


def curate(plan: Plan, run: Runner = run_parts) -> None:
    """Run the filters whose stage is not done, in the recipe's order."""
    numbered = list(enumerate(plan.steps))
    for corpus_wise, group in itertools.groupby(
        numbered, lambda s: isinstance(s[1].judge, CorpusFilter)
    ):
        steps = list(itertools.dropwhile(lambda step: step[1].verdicts.done, group))
        if corpus_wise:
            for number, step in steps:
                if not step.verdicts.done:
                    _judge_corpus(plan, number, step, run)
        elif steps:
            _judge_rows(plan, steps, run)


def _judge_rows(plan: Plan, steps: Sequence[tuple[int, Step]], run: Runner) -> None:
    """One pass for all steps from the first unfinished one on; verdicts that are there count."""
    parts = len(sample_parts(plan))
    waiting = [step for _, step in steps if not step.verdicts.done]
    for step in waiting:
        step.verdicts.begin()
    scores = {number: Scored(plan, step) for number, step in steps}

    def work(index: int) -> None:
        samples = kept_samples(plan, index, steps[0][0])
        for place, (number, step) in enumerate(steps):
            if not step.verdicts.has(index):
                ahead = itertools.takewhile(lambda s: isinstance(s[1].judge, Filter), steps[place:])
                wanted = [name for _, later in ahead for name in later.judge.MEASURES]
                samples = measure(samples, list(dict.fromkeys(wanted)))
                _write_verdicts(step, index, scores[number].joined(samples))
            samples = _apply(step, index, samples)

    def there(index: int) -> bool:
        return all(step.verdicts.has(index) for _, step in steps)

    name = "+".join(step.settings.filter for _, step in steps)
    run(name, work, Missing(range(parts), there))
    for step in waiting:
        step.verdicts.finish()


def _apply(step: Step, index: int, samples: pl.DataFrame) -> pl.DataFrame:
    """What a step that is done for the part leaves of its samples, as later steps see it."""
    rejected = pl.DataFrame(step.verdicts.read(index))
    kept = samples.join(rejected, on="id", how="anti", maintain_order="left")
    if len(kept) + len(rejected) != len(samples):
        raise ShardmillError(
            f"{len(samples)} samples went in, {len(kept)} were kept and {len(rejected)} rejected",
            where=str(step.verdicts.file(index)),
            fix="a filter gave a sample two verdicts or judged one that is not there",
        )
    if isinstance(step.judge, Cleaner):
        kept = apply_changes(kept, pl.DataFrame(step.verdicts.read(index, "changes")))
        kept = kept.select(field.name for field in schema.SAMPLES)  # measures are of old text
    return kept


def _write_verdicts(step: Step, index: int, samples: pl.DataFrame) -> None:
    judged, judge = samples.filter(_in_scope(step)), step.judge
    if isinstance(judge, Cleaner):
        changes = _clean(judge, judged)
        step.verdicts.write(index, changes.to_arrow().cast(schema.CHANGES), "changes")
        rejected = changes.filter(pl.col("tokens") == 0).select(
            "id",
            reason=pl.lit("nothing_left"),
            figures=pl.struct("before_tokens").struct.json_encode(),
        )
    elif isinstance(judge, Filter):
        judged = judge.prepare(judged)
        notes = judge.notes(judged)
        if notes is not None:
            step.verdicts.write(index, notes.to_arrow(), "notes")
        rejected = _reject(judge, judged)
    else:
        raise TypeError(f"{step.settings.filter} is no row filter")
    named = rejected.select("id", "reason", "figures", filter=pl.lit(step.settings.filter))
    step.verdicts.write(index, named.select(schema.VERDICTS.names).to_arrow().cast(schema.VERDICTS))


def _reject(judge: Filter, judged: pl.DataFrame) -> pl.DataFrame:
    reasons = judge.reasons(judged).rename("reason").cast(pl.String)
    rejected = judged.with_columns(reasons).filter(pl.col("reason").is_not_null())
    figures = judge.figures(rejected)
    return rejected.select(
        "id",
        "reason",
        figures=pl.Series(
            [json.dumps(row) for row in figures.iter_rows(named=True)], dtype=pl.String
        ),
    )


def _clean(judge: Cleaner, samples: pl.DataFrame) -> pl.DataFrame:
    """The rows that the cleaner changed, as schema.CHANGES has them; their tokens counted again."""
    spoken = samples.filter(pl.col("messages").list.len() > 0).select("id", "messages")
    turns = spoken.explode("messages").unnest("messages")
    turns = turns.with_columns(content=judge.clean(turns["content"].fill_null("")))
    cleaned = turns.group_by("id", maintain_order=True).agg(
        messages_after=pl.struct("role", "content")
    )
    after = (
        samples.select("id", "text", "messages", "tokens")
        .with_columns(text_after=judge.clean(samples["text"].fill_null("")))
        .join(cleaned, on="id", how="left", maintain_order="left")
        .select(
            "id",
            text=pl.when(pl.col("text").is_not_null()).then("text_after"),
            messages=pl.when(pl.col("messages").is_not_null()).then("messages_after"),
            before_text="text",
            before_messages="messages",
            before_tokens="tokens",
        )
    )
    changed = after.filter(
        pl.col("text").ne_missing(pl.col("before_text"))
        | pl.col("messages").ne_missing(pl.col("before_messages"))
    )
    texts = body(changed)
    _, offsets = load_tokenizer("gpt2").encode(texts.to_list())
    empty = texts.str.strip_chars() == ""
    counts = pl.Series("tokens", offsets[1:] - offsets[:-1], dtype=pl.Int32)
    return changed.with_columns(
        tokens=pl.select(pl.when(empty).then(0).otherwise(counts)).to_series().cast(pl.Int32)
    ).select(schema.CHANGES.names)


class Scored:
    """The column `score` for a filter that asks for one."""

    def __init__(self, plan: Plan, step: Step) -> None:
        self._asked = step.judge.scores()
        self._said: pl.DataFrame | None = None
        if self._asked is not None and self._asked.from_ is not None:
            self._said = _judged(plan, self._asked.from_, self._asked.column)

    def joined(self, samples: pl.DataFrame) -> pl.DataFrame:
        if self._asked is None:
            return samples
        if self._said is None:
            return samples.with_columns(score=pl.col(self._asked.column).cast(pl.Float64))
        rest = samples.drop("score", strict=False)
        return rest.join(self._said, on="id", how="left", maintain_order="left")


def _judged(plan: Plan, judge: str, key: str) -> pl.DataFrame:
    """`id` and `score` of the samples that a judge's source read: its replies name them in
    `seed_id`; of several replies on one sample the mean counts."""
    source = next(source for source in plan.generated if source.name == judge)
    tables = []
    for part in range(source.samples.count()):
        replies = pl.DataFrame(source.samples.read(part, columns=["id", "seed_id", "meta"]))
        refused = pl.DataFrame(source.samples.read(part, "verdicts")).select("id")
        taken = replies.join(refused, on="id", how="anti").filter(pl.col("seed_id").is_not_null())
        values = [json.loads(meta or "{}").get(key) for meta in taken["meta"]]
        numbers = [float(v) if isinstance(v, (int, float)) else None for v in values]
        tables.append(
            taken.select(id="seed_id", score=pl.Series(numbers, dtype=pl.Float64)).drop_nulls()
        )
    whole = pl.concat(tables)
    return whole.group_by("id").agg(pl.col("score").mean())


def _judge_corpus(plan: Plan, number: int, step: Step, run: Runner) -> None:
    judge, stage = step.judge, step.verdicts
    if not isinstance(judge, CorpusFilter):
        raise TypeError(f"{step.settings.filter} is no corpus filter")
    parts = len(sample_parts(plan))
    stage.begin()
    scores = Scored(plan, step)

    def judged(index: int) -> pl.DataFrame:
        return scores.joined(kept_samples(plan, index, number).filter(_in_scope(step)))

    def sketch(index: int) -> None:
        stage.write_arrow(index, judge.sketch(judged(index)).to_arrow(), SKETCHES)

    def sketched(index: int) -> bool:
        return stage.has(index, SKETCHES, "arrow")

    def sketched_or_judged(index: int) -> bool:
        """Another build that resolves removes the sketches when its verdicts are there."""
        return sketched(index) or stage.has(parts - 1) or stage.done

    corpus = StoredCorpus(stage, parts, judged, judge)
    run(f"{stage.name}.sketch", sketch, Missing(range(parts), sketched_or_judged))

    def resolve(index: int) -> None:
        for part in Missing(range(parts), sketched):  # a build was killed while it removed them
            sketch(part)
        corpus.sketch_references()
        resolved = judge.resolve(corpus)
        named = resolved.rejected.select("id", "reason", "figures").with_columns(
            filter=pl.lit(step.settings.filter)
        )
        for table, content in resolved.tables.items():
            stage.write(0, content.to_arrow(), table)
        for part in range(parts):
            own = corpus.ids(part).join(named, on="id", maintain_order="left")
            stage.write(part, own.select(schema.VERDICTS.names).to_arrow().cast(schema.VERDICTS))
        corpus.remove()
        stage.finish()

    run(f"{stage.name}.resolve", resolve, Missing([0], lambda _: stage.done))


def _in_scope(step: Step) -> pl.Expr:
    """`only` and `except` name sources or tags."""

    def named(names: Sequence[str]) -> pl.Expr:
        listed = list(names)
        return pl.col("source").is_in(listed) | pl.col("tag").is_in(listed).fill_null(False)

    scope = pl.lit(True)
    if step.settings.only:
        scope = scope & named(step.settings.only)
    if step.settings.except_:
        scope = scope & ~named(step.settings.except_)
    return scope
