"""Rows of a corpus to sample columns, by its recipe's `columns`; columnar but for notebooks."""

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

from data.conversations import MESSAGES, TURNS, messages_of, problem_of
from data.errors import SourceError, nearest
from data.notebooks import to_script
from data.tables import AT, FIX, FOUND, PROBLEM, Columns

FIELD = re.compile(r"\{([^{}]+)\}")
DESCRIBING = ("topic", "format", "audience", "seed_text", "prompt", "licence")
"""Sample columns that a corpus may fill besides its text."""
ROLES = ("system", "user", "assistant")
FORMS = {"text": ("text",), "notebook": ("text",), "messages": ("messages", *ROLES)}
DEFAULTS = {
    "text": {"text": "text"},
    "notebook": {"text": "content"},
    "messages": {"messages": "messages"},
}
REASON, DETAIL = "_reason", "_detail"
Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Mapped:
    """How a corpus is read. `columns`: sample's column: a path, or a text with paths in braces;
    `meta`: paths that go into the sample's meta; `where` and `where_not`: values of a path that
    a row must have, and must not have."""

    form: Literal["text", "messages", "notebook"]
    columns: Mapping[str, str]
    meta: Sequence[str] = ()
    where: Mapping[str, Sequence[Scalar]] | None = None
    where_not: Mapping[str, Sequence[Scalar]] | None = None

    def check(self) -> None:
        """Raises SourceError for columns that make no sample."""
        known = (*FORMS[self.form], *DESCRIBING)
        for name in self.columns:
            if name not in known:
                raise SourceError(
                    f"as {self.form} has no column {name!r}", fix=nearest(name, known)
                )
        if "at" in self.meta:
            raise SourceError("meta keeps the row's place under 'at'", fix="leave at out of meta")
        if self.form != "messages" and "text" not in self.columns:
            raise SourceError("columns name no text", fix="write columns: {text: ...}")
        if self.form == "messages":
            given = set(self.columns)
            if "messages" in given and given & {"user", "assistant"}:
                raise SourceError("columns name messages and single turns", fix="choose one")
            if "messages" not in given and not {"user", "assistant"} <= given:
                raise SourceError(
                    "columns name no conversation", fix="name messages, or user and assistant"
                )

    @functools.cached_property
    def read(self) -> Columns:
        needed: dict[str, Any] = {}
        for name, value in self.columns.items():
            kind = TURNS if name == "messages" else pl.String
            needed |= dict.fromkeys(_paths(value), kind)
        for path in self.meta:
            needed.setdefault(path, None)
        compared = {*(self.where or {}), *(self.where_not or {})} - set(needed)
        return Columns(needed, tuple(sorted(compared)))

    def chosen(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that `where` and `where_not` leave, and those that cannot be read."""
        kept = pl.lit(True)
        for path, values in (self.where or {}).items():
            kept = kept & _equals(rows, path, values)
        for path, values in (self.where_not or {}).items():
            kept = kept & ~_equals(rows, path, values)
        return rows.filter(kept | pl.col(PROBLEM).is_not_null())

    def samples(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`text` or `messages`, the describing columns, `meta` as JSON, and why a row is no
        sample. Raises SourceError for a column of a type that cannot be mapped."""
        unreadable = pl.when(pl.col(PROBLEM).is_not_null()).then(pl.lit("unreadable"))
        described = {
            name: _text(rows, self.columns[name])
            if name in self.columns
            else pl.lit(None, pl.String)
            for name in DESCRIBING
        }
        kept = pl.struct(pl.col(AT).alias("at"), *(pl.col(path) for path in self.meta))
        base = rows.select(AT, PROBLEM, FIX, meta=kept.struct.json_encode(), **described)
        made = self._messages(rows) if self.form == "messages" else self._texts(rows)
        made = base.hstack(made)
        return made.with_columns(
            pl.coalesce(unreadable, REASON).alias(REASON),
            pl.coalesce(PROBLEM, DETAIL).alias(DETAIL),
        )

    def _texts(self, rows: pl.DataFrame) -> pl.DataFrame:
        texts = rows.select(text=_text(rows, self.columns["text"]))["text"]
        problems = pl.Series([None] * len(texts), dtype=pl.String)
        if self.form == "notebook":
            texts, problems = _scripts(texts)
        frame = pl.DataFrame({"text": texts.fill_null(""), DETAIL: problems})
        blank = pl.col("text").str.strip_chars() == ""
        why = pl.when(pl.col(DETAIL).is_not_null()).then(pl.lit("broken_notebook"))
        return frame.select(
            "text",
            pl.lit(None, MESSAGES).alias("messages"),
            why.when(blank).then(pl.lit("no_text")).alias(REASON),
            DETAIL,
        )

    def _messages(self, rows: pl.DataFrame) -> pl.DataFrame:
        if "messages" in self.columns:
            path = self.columns["messages"]
            turns = messages_of(rows.select(turns=path)["turns"], path)
            found = rows[FOUND]
        else:
            spoken = [self._turn(rows, role) for role in ("user", "assistant")]
            turns = rows.select(turns=pl.concat_list(spoken))["turns"]
            found = pl.repeat(None, len(rows), dtype=pl.String, eager=True)
        frame = pl.DataFrame({"turns": turns, DETAIL: found})
        if "system" in self.columns:
            system = rows.select(self._turn(rows, "system").alias("system"))["system"]
            first = pl.col("turns").list.first().struct.field("role")
            said = pl.col("system").struct.field("content").str.strip_chars().fill_null("") != ""
            whole = pl.concat_list(pl.concat_list("system"), "turns")
            wanted = said & first.ne_missing("system") & pl.col("turns").is_not_null()
            frame = frame.with_columns(system).with_columns(
                turns=pl.when(wanted).then(whole).otherwise("turns")
            )
        problem = problem_of(pl.col("turns"))
        there = pl.col("turns").list.len().fill_null(0) > 0
        return frame.select(
            text=pl.when(~there).then(pl.lit("")),
            messages=pl.when(there).then("turns").cast(MESSAGES),
            **{REASON: problem, DETAIL: pl.when(problem.is_not_null()).then(DETAIL)},
        )

    def _turn(self, rows: pl.DataFrame, role: str) -> pl.Expr:
        return pl.struct(role=pl.lit(role), content=_text(rows, self.columns[role]))


@functools.cache
def mapping_source() -> str:
    """sha256 of the code that makes samples of rows: other code makes another stage."""
    names = ("conversations", "mapping", "notebooks", "tables")
    texts = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in names]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _paths(value: str) -> list[str]:
    return FIELD.findall(value) or [value]


def _text(rows: pl.DataFrame, value: str) -> pl.Expr:
    """A column as text, or a text with columns put into its braces; null where one is null."""
    if not FIELD.search(value):
        return _one(rows, value)
    pieces = [
        _one(rows, piece) if number % 2 else pl.lit(piece)
        for number, piece in enumerate(FIELD.split(value))
        if piece
    ]
    return pl.concat_str(pieces)


def _one(rows: pl.DataFrame, path: str) -> pl.Expr:
    kind = rows.schema[path]
    if kind.is_nested() or kind == pl.Binary:
        raise SourceError(f"the column {path!r} holds no text ({kind})", fix="name one inside it")
    return pl.col(path).cast(pl.String)


def _equals(rows: pl.DataFrame, path: str, values: Sequence[Scalar]) -> pl.Expr:
    """Never null. Numbers equal numbers, texts equal texts."""
    kind = rows.schema[path]
    if kind.is_nested() or kind == pl.Object:
        raise SourceError(f"the column {path!r} is no value to compare ({kind})")
    if kind.is_numeric():
        named: list[Any] = [float(v) for v in values if isinstance(v, int | float)]
        found = pl.col(path).cast(pl.Float64).is_in(named)
    elif kind == pl.Boolean:
        found = pl.col(path).is_in([v for v in values if isinstance(v, bool)])
    else:
        named = [str(v) for v in values if v is not None]
        named += [str(v).lower() for v in values if isinstance(v, bool)]  # as a CSV has them
        found = pl.col(path).cast(pl.String).is_in(named)
    found = found.fill_null(False)
    return found | pl.col(path).is_null() if None in values else found


def _scripts(notebooks: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Each notebook as a script, or itself and what is wrong with it."""
    texts: list[str | None] = []
    problems: list[str | None] = []
    for notebook in notebooks:
        problem = None
        text = notebook
        try:
            text = to_script(notebook) if notebook is not None else None
        except SourceError as error:
            problem = error.what
        texts.append(text)
        problems.append(problem)
    return pl.Series(texts, dtype=pl.String), pl.Series(problems, dtype=pl.String)
