"""The samples stage of a source that is read: rows of a file or a hub set as samples.

One stream gives the rows; groups of parts are then made side by side. Each part knows how far in
the stream it ends, so that a build that was cut off goes on behind what is there.
"""

import json
from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from data import schema
from data.errors import SourceError
from data.hub import read_hub_tables
from data.mapping import DETAIL, REASON
from data.parts import Stage
from data.places import shown
from data.rows import Row
from data.sources import find_files
from data.tables import AT, FIX, PROBLEM, read_file_tables, read_hub_frames
from data.tokenization import load_tokenizer
from filters.texts import body
from flows.plan import ReadSource
from flows.reading_notes import Absent, files_passed_over
from flows.stages import Missing, Runner, run_parts

GROUP_PARTS = 16
GROUP_BYTES = 1 << 28
"""A group ends at whichever comes first."""
NUMBER = "_number"
END = b"rows_read"
"""In a part's metadata: rows of the stream up to its last."""
TABLES = ("part", "verdicts")


def read_corpus(source: ReadSource, part_rows: int, run: Runner = run_parts) -> list[str]:
    """Rows as samples, and verdicts on those that are none. Gives what a user should hear of it:
    files that are passed over, and paths of `where` and `where_not` that no row has.

    Raises SourceError for a corpus that cannot be read or holds no row, and for a row that
    cannot be read where the recipe says to stop there.
    """
    stage = source.samples
    if stage.done:
        return []
    stage.begin()

    def there(index: int) -> bool:
        return all(stage.has(index, table) for table in TABLES)

    last, start = _finished(source)
    absent = Absent(source.name, source.settings.wheres)
    for group in _groups(source, part_rows, last, start, absent):
        last = max(group) + 1

        def work(index: int, group: dict[int, pl.DataFrame] = group) -> None:
            _write(source, index, group[index])

        run(stage.name, work, Missing(group, there))
    if not last:
        settings = source.settings
        wanted = "no row that where asks for" if settings.wheres else "no rows"
        fix = "; ".join(absent.lines()) or "see corpora in the recipe"
        raise SourceError(f"holds {wanted}", where=settings.shown, fix=fix)
    for table in TABLES:  # of a longer stream that was cut off
        for path in stage.folder.glob(f"{table}-*.parquet"):
            if int(path.stem.rpartition("-")[2]) >= last:
                path.unlink()
    stage.finish()
    return [*files_passed_over(source.name, source.settings), *absent.lines()]


def _finished(source: ReadSource) -> tuple[int, int]:
    """How many parts from the first on are there, and the rows of the stream that they end at."""
    stage, parts = source.samples, 0
    while all(stage.has(parts, table) for table in TABLES):
        parts += 1
    if not parts:
        return 0, 0
    return parts, int((stage.read(parts - 1).schema.metadata or {})[END])


def _groups(
    source: ReadSource, part_rows: int, there: int, start: int, absent: Absent
) -> Iterator[dict[int, pl.DataFrame]]:
    """Parts of `part_rows` samples behind the first `there`, many at a time."""
    group: dict[int, pl.DataFrame] = {}
    waiting: list[pl.DataFrame] = []
    index, rows, size = there, 0, 0
    for frame in _samples(source, there * part_rows, start, absent):
        waiting.append(frame)
        rows += len(frame)
        while rows >= part_rows:
            whole = pl.concat(waiting)
            group[index] = whole.head(part_rows)
            size += int(group[index].estimated_size())
            waiting = [whole.slice(part_rows)]
            index, rows = index + 1, rows - part_rows
            if len(group) == GROUP_PARTS or size > GROUP_BYTES:
                yield group
                group, size = {}, 0
    if rows:
        group[index] = pl.concat(waiting)
    if group:
        yield group


def _samples(source: ReadSource, taken: int, start: int, absent: Absent) -> Iterator[pl.DataFrame]:
    """What the rows behind the first `start` become, until `limit` is reached."""
    settings, mapped = source.settings, source.settings.mapped
    seen = 0
    for read in _frames(source):
        first, seen = seen, seen + len(read)
        there = [path for path in absent.paths if read[path].null_count() < len(read)]
        absent.saw(len(read), there)
        if seen <= start:
            continue
        frame = read.with_columns(pl.int_range(first + 1, seen + 1).alias(NUMBER))
        rows = mapped.chosen(frame.filter(pl.col(NUMBER) > start))
        if settings.limit is not None:
            rows = rows.head(settings.limit - taken)
        if settings.bad_rows == "stop":
            _stop(source, rows)
        taken += len(rows)
        if len(rows):
            yield mapped.samples(rows).with_columns(rows[NUMBER])
        if taken == settings.limit:
            return


def _frames(source: ReadSource) -> Iterator[pl.DataFrame]:
    settings, columns = source.settings, source.settings.mapped.read
    if settings.file is not None:
        frames = read_file_tables(settings.file, None, columns)
    else:
        hub, place = settings.hub or "", (settings.name, settings.split, settings.revision)
        frames = read_hub_frames(read_hub_tables(hub, *place, settings.data_dir), columns)
    try:
        yield from frames
    except SourceError as error:
        raise SourceError(error.what, where=error.where or settings.shown, fix=error.fix) from error


def _stop(source: ReadSource, rows: pl.DataFrame) -> None:
    bad = rows.filter(pl.col(PROBLEM).is_not_null())
    if len(bad):
        at, problem, fix = bad.select(AT, PROBLEM, FIX).row(0)
        settings = source.settings
        base = find_files(settings.file)[0] if settings.file is not None else None
        where = shown(base / at) if base is not None else f"{settings.shown}, row {at}"
        raise SourceError(problem, where=where, fix=fix or "mend it, or set bad_rows: skip")


def _write(source: ReadSource, index: int, rows: pl.DataFrame) -> None:
    settings, stage = source.settings, source.samples
    texts = body(rows)
    _, offsets = load_tokenizer("gpt2").encode(texts.to_list())
    start = schema.canonical(["corpus", source.name]).decode()
    made_by = rows.select(pl.concat_str(pl.lit(start), AT, pl.lit("\n"), texts))
    ids = schema.hash_rows([row.encode() for row in made_by.to_series().to_list()])
    nothing = {
        field.name: pl.lit(None)
        for field in schema.SAMPLES
        if field.name not in (*rows.columns, "id", "source", "tag", "tokens")
    }
    known: dict[str, pl.Expr | pl.Series] = {
        "id": pl.Series(ids, dtype=pl.UInt64),
        "source": pl.lit(source.name),
        "tag": pl.lit(settings.tag, pl.String),
        "licence": pl.col("licence").fill_null(settings.licence),
        "tokens": pl.Series(offsets[1:] - offsets[:-1], dtype=pl.Int32),
    }
    samples = rows.with_columns(**nothing, **known)
    refused = samples.filter(pl.col(REASON).is_not_null())
    verdicts = refused.select(
        "id",
        filter=pl.lit("read"),
        reason=REASON,
        figures=pl.struct(detail=pl.col(DETAIL).fill_null(""), at=AT).struct.json_encode(),
    )
    stage.write(index, verdicts.to_arrow().cast(schema.VERDICTS), "verdicts")
    table = samples.select(schema.SAMPLES.names).to_arrow().cast(schema.SAMPLES)
    end = str(rows[NUMBER][-1]).encode()
    stage.write(index, table.replace_schema_metadata({END: end}))


def corpus_rows(stage: Stage) -> Iterator[tuple[str, Row]]:
    """Each sample's id and columns, as seeds of another source."""
    for part in range(stage.count()):
        refused = set(stage.read(part, "verdicts")["id"].to_pylist())
        table: pa.Table = stage.read(part)
        for row in table.to_pylist():
            if row["id"] not in refused:
                text = row["text"] or "\n\n".join(m["content"] for m in row["messages"])
                id = schema.show_id(row["id"])
                given = ("topic", "format", "audience", "seed_text", "prompt", "messages")
                kept = {key: row[key] for key in given if row[key]}
                meta = {key: v for key, v in json.loads(row["meta"]).items() if key != "at"}
                yield id, {**meta, **kept, "text": text, "from_id": id}
