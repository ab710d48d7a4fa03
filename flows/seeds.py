"""The seeds stage: rows of files, of a hub set or of an earlier generation, part by part."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data import schema
from data.errors import SourceError
from data.hub import read_hub
from data.outlines import read_outline, walk
from data.parts import PART
from data.places import shown
from data.rows import Row, cut, encode, find, matches, pick, read_json
from data.sources import Found, find_files, read_files
from flows.corpora import corpus_rows
from flows.plan import Source
from flows.reading_notes import Absent, files_passed_over
from flows.recipe import Seeds
from flows.stages import Missing, Runner, run_parts

PART_ROWS = 20_000
PART_BYTES = 1 << 26
"""A part ends at whichever comes first."""
SHOWN = 100


def read_seeds(source: Source, run: Runner = run_parts) -> list[str]:
    """The source's rows with their ids, in parts that later steps map into memory. Gives what a
    user should hear of it, as `read_corpus` does."""
    stage, settings = source.seeds, source.settings.seeds
    if stage.done:
        return []
    absent = Absent(source.name, settings.wheres)

    def work(index: int) -> None:
        for path in stage.folder.iterdir():
            if PART.fullmatch(path.name):  # of a build that was cut off; a stream has no middle
                path.unlink()
        ats: list[str] = []
        fields: list[str] = []
        skipped: list[dict[str, str]] = []
        parts = size = 0
        for at, row in _rows(source, absent):
            if isinstance(row, SourceError):
                if settings.bad_rows == "stop":
                    raise row
                skipped.append({"at": at, "reason": row.what})
                continue
            if len(ats) == PART_ROWS or size > PART_BYTES:
                stage.write_arrow(parts, _table(ats, fields))
                parts, size, ats, fields = parts + 1, 0, [], []
            ats.append(at)
            fields.append(row)
            size += len(row)
        if ats or not parts:
            stage.write_arrow(parts, _table(ats, fields))
        if skipped:
            stage.write(0, pa.Table.from_pylist(skipped, schema=schema.SKIPPED), "skipped")
        stage.finish()

    stage.begin()
    run(stage.name, work, Missing([0], lambda _: stage.done))
    return [*files_passed_over(source.name, settings), *absent.lines()]


def _table(ats: list[str], fields: list[str]) -> pa.Table:
    ids = schema.hash_rows([f'["seed",{row}]'.encode() for row in fields])
    return pa.table({"id": ids, "at": ats, "fields": fields}, schema=schema.SEEDS)


def _rows(source: Source, absent: Absent) -> Iterator[tuple[str, str | SourceError]]:
    """Each seed as JSON, or what is wrong with its row."""
    settings = source.settings.seeds
    for at, found in _shaped(source, absent):
        try:
            if isinstance(found, SourceError):
                raise found
            row = pick(found, settings.columns) if settings.columns else found
            for column, size in settings.cuts.items():
                if isinstance(row.get(column), str):
                    row = {**row, column: cut(row[column], size)}
            yield at, encode(row)
        except SourceError as error:
            where = error.where or _place(settings, at)
            yield at, SourceError(error.what, where=where, fix=error.fix)


def _shaped(source: Source, absent: Absent) -> Iterator[Found]:
    """The rows as they are, or the units of the outlines that they hold."""
    outline = source.settings.seeds.as_ == "outline"
    settings, taken = source.settings.seeds, 0
    wheres = {"where": {}, "where_not": {}, **settings.wheres}
    for at, row in _raw(source):
        if taken == settings.limit:
            return
        if not isinstance(row, SourceError):
            absent.saw(1, [path for path in absent.paths if find(row, path) is not None])
            if not matches(row, **wheres):
                continue
        taken += 1
        if isinstance(row, SourceError) or not outline:
            yield at, row
            continue
        try:
            text = str(row.get("tree") or row.get("text") or "")
            units = list(walk(read_outline(text)))
        except SourceError as error:
            yield at, error
            continue
        kept = {key: value for key, value in row.items() if key not in ("tree", "text")}
        for unit in units:
            yield at, {**kept, **unit}


def _raw(source: Source) -> Iterator[Found]:
    settings = source.settings.seeds
    if settings.file is not None:
        yield from read_files(settings.file, settings.form)
    elif settings.hub is not None:
        place = (settings.name, settings.split, settings.revision, settings.data_dir)
        found = read_hub(settings.hub, *place)
        yield from ((str(number), row) for number, row in found)
    else:
        yield from _kept(source)


def _kept(source: Source) -> Iterator[Found]:
    """What an earlier generation kept: its seed's columns, `text`, `messages` of a conversation,
    and `from_id`, the sample's id."""
    *before, samples = source.seeds.inputs
    if not before:
        yield from corpus_rows(samples)
        return
    (prompts,) = before
    for part in range(samples.count()):
        refused = set(samples.read(part, "verdicts")["id"].to_pylist())
        seeds = prompts.read(part)["seed"].to_pylist()
        for row, seed in zip(samples.read(part).to_pylist(), seeds, strict=True):
            if row["id"] not in refused:
                text = row["text"] or "\n\n".join(m["content"] for m in row["messages"])
                id = schema.show_id(row["id"])
                turns = {"messages": row["messages"]} if row["messages"] else {}
                yield id, {**json.loads(seed), **turns, "text": text, "from_id": id}


def _place(settings: Seeds, at: str) -> str:
    """Where a row stands, as a user looks for it."""
    if settings.file is not None:
        return shown(find_files(settings.file, settings.form)[0] / at)
    return f"{settings.shown}, row {at}"


@dataclass(frozen=True)
class Deck:
    """A source's seeds in the order in which they are asked; equal rows are one seed."""

    fields: list[pa.Array]
    """Of each part, mapped into memory."""
    ids: npt.NDArray[np.uint64]
    parts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    unfit: int = 0
    """Seeds that lack what the kind needs."""

    def take(self, numbers: npt.NDArray[np.int64]) -> list[str]:
        """The columns of the seeds at `numbers` in the deck's order, as JSON."""
        found: list[str] = [""] * len(numbers)
        parts, rows = self.parts[numbers], self.rows[numbers]
        for part in np.unique(parts).tolist():
            here = np.flatnonzero(parts == part)
            texts = self.fields[part].take(pa.array(rows[here])).to_pylist()
            for at, text in zip(here.tolist(), texts, strict=True):
                found[at] = text
        return found


def open_deck(source: Source, seed: int) -> Deck:
    """Raises SourceError where no seed is left, or one is unfit for the kind and the recipe does
    not say to skip it."""
    stage, settings = source.seeds, source.settings.seeds
    tables = [stage.map(part) for part in range(stage.count())]
    ids = np.concatenate([table["id"].to_numpy() for table in tables])
    parts = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    rows = np.concatenate([np.arange(table.num_rows) for table in tables])
    _, first = np.unique(ids, return_index=True)
    first.sort()
    fits = np.concatenate([_fits(source, table) for table in tables])[first]
    if not len(fits):
        fix = "add at least one row" if settings.from_ is None else "see the funnel"
        raise SourceError("holds no seeds", where=settings.shown, fix=fix)
    if not fits.any():
        raise SourceError(
            f"no seed has what the kind {source.settings.kind} needs",
            where=settings.shown,
            fix=f"every seed needs {described(source.kind.NEEDS)}",
        )
    kept = first[fits]
    start = schema.canonical([seed, source.name]).decode()[:-1]
    order = schema.hash_rows([f"{start},{id}]".encode() for id in ids[kept].tolist()])
    kept = kept[np.lexsort((ids[kept], order))]
    fields = [table["fields"].combine_chunks() for table in tables]
    return Deck(fields, ids[kept], parts[kept], rows[kept], int((~fits).sum()))


def _fits(source: Source, table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows have what the kind needs. Raises SourceError where one must."""
    needs, fits = source.kind.NEEDS, np.ones(table.num_rows, np.bool_)
    for number, fields in enumerate(table["fields"].to_pylist() if needs else ()):
        problem = wrong_column(read_json(fields.encode()), needs)
        if problem and source.settings.seeds.bad_rows == "stop":
            shown = fields if len(fields) < SHOWN else f"{fields[:SHOWN]}..."
            raise SourceError(
                f"the seed {problem}, which the kind {source.settings.kind} needs: {shown}",
                where=_place(source.settings.seeds, table["at"][number].as_py()),
                fix=f"every seed needs {described(needs)}",
            )
        fits[number] = not problem
    return fits


def wrong_column(seed: Row, needs: Mapping[str, type]) -> str:
    """What is wrong with the first column that is; empty where none is."""
    for column, kind in needs.items():
        value: Any = seed.get(column)
        if value is None or value in ("", []):
            return f"lacks {column!r}"
        if kind is list:
            if not (
                isinstance(value, list) and all(isinstance(v, str | int | float) for v in value)
            ):
                return f"has no list of texts or numbers as {column!r}"
        elif kind is dict:
            if not _is_conversation(value):
                return f"has no conversation as {column!r}"
        elif kind is str and not (isinstance(value, str) and value.strip()):
            return f"has no text as {column!r}"
    return ""


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(turn, dict)
        and set(turn) == {"role", "content"}
        and all(isinstance(part, str) for part in turn.values())
        for turn in value
    )


def described(needs: Mapping[str, type]) -> str:
    names: dict[type, str] = {list: "a list", dict: "messages with role and content"}
    return ", ".join(f"{name} ({names.get(kind, 'a text')})" for name, kind in needs.items())
