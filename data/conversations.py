"""Conversations of corpora in one form: lists of role and content, by columns."""

from typing import Any

import polars as pl

from data.errors import SourceError

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""What corpora call the roles, in lower case, and what templates know."""

SPOKEN = ("content", "value", "message", "text")
NAMED = ("role", "from", "speaker")
TURNS = pl.List(pl.Struct({**dict.fromkeys((*NAMED, *SPOKEN), pl.String), "is_human": pl.Boolean}))
"""What rows of JSON are read as; Arrow's lists may have fewer fields."""
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def messages_of(turns: pl.Series, path: str) -> pl.Series:
    """Lists of `role` and `content` from lists of any known form. Raises SourceError where the
    column holds none. An unknown role keeps its name."""
    inner = turns.dtype.inner if isinstance(turns.dtype, pl.List) else None
    if pl.Null in (turns.dtype, inner):
        return pl.Series(turns.name, [None] * len(turns), dtype=MESSAGES)
    listed = inner.fields if isinstance(inner, pl.Struct) else []
    fields: dict[str, pl.DataType] = {field.name: field.dtype for field in listed}  # type: ignore[misc]
    spoken = [name for name in SPOKEN if name in fields]
    named = [name for name in NAMED if name in fields]
    if not spoken or not (named or "is_human" in fields):
        raise SourceError(
            f"the column {path!r} holds no turns ({turns.dtype})",
            fix="turns have role and content, from and value, or is_human and message",
        )
    for name in (*named, *spoken):
        if fields[name].is_nested() and not (name in spoken and _has_parts(fields[name])):
            raise SourceError(
                f"the turns' {name!r} in {path!r} is no text ({fields[name]})",
                fix="a turn is a text, or a list of parts with type and text",
            )
    part = pl.element().struct.field
    roles = [part(name).cast(pl.String) for name in named]
    if "is_human" in fields:
        known = pl.when(part("is_human")).then(pl.lit("user"))
        speaker = known.when(~part("is_human")).then(pl.lit("assistant"))
        roles.append(speaker.otherwise(pl.lit(None, pl.String)))
    role = pl.coalesce(roles)
    role = role.str.to_lowercase().replace_strict(ROLES, default=role)
    content = pl.coalesce([_content(part(name), fields[name]) for name in spoken])
    column = pl.col(turns.name)
    made = column.list.eval(pl.struct(role=role, content=content))
    return turns.to_frame().select(made).to_series().cast(MESSAGES)


def _has_parts(kind: Any) -> bool:
    inner = kind.inner if isinstance(kind, pl.List) else None
    return isinstance(inner, pl.Struct) and {"type", "text"} <= {f.name for f in inner.fields}


def _content(turn: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """A turn's text, or its parts of text joined by line breaks; null where one is of no text."""
    if not kind.is_nested():
        return turn.cast(pl.String)
    part = pl.element().struct.field
    other = turn.list.eval(part("type").ne_missing("text")).list.any()
    return pl.when(~other).then(turn.list.eval(part("text")).list.join("\n"))


def plain_turns(turns: Any) -> tuple[Any, str | None]:
    """A conversation of JSON with the parts of its turns joined as `messages_of` joins them, and
    what a row that falls for it should tell."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return turns, None
    detail = None
    plain = []
    for turn in turns:
        joined = {}
        for name in SPOKEN:
            if isinstance(parts := turn.get(name), list):
                joined[name], other = _joined(parts)
                detail = detail or other
        plain.append(turn | joined)
    return plain, detail


def _joined(parts: list[Any]) -> tuple[str | None, str | None]:
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        text = part.get("text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(text, str):
            return None, f"a turn has a part of type {kind!r}, which is no text"
        texts.append(text)
    return "\n".join(texts), None


def described(found: Any) -> str:
    """What stands in a row in place of a list of turns."""
    if found is None:
        return "null"
    if isinstance(found, str):
        return f"a text: {found[:60]!r}"
    if isinstance(found, dict):
        return f"an object of {', '.join(list(found)[:6])}"
    if not isinstance(found, list):
        return f"no list: {found!r}"
    if not found:
        return "an empty list"
    if isinstance(found[0], str):
        return f"a list of texts: {found[0][:60]!r}"
    return f"a list that holds no turns: {str(found[0])[:60]}"


def problem_of(messages: pl.Expr) -> pl.Expr:
    """Why a conversation is no sample; null where it is one."""
    role = messages.list.eval(pl.element().struct.field("role"))
    known = role.list.eval(pl.element().is_in(sorted(set(ROLES.values()))).fill_null(False))
    content = messages.list.eval(
        pl.element().struct.field("content").str.strip_chars().fill_null("") == ""
    )
    blank = content.list.any() & ~(
        role.list.first().eq("system").fill_null(False) & (content.list.slice(1).list.any().not_())
    )
    return (
        pl.when(messages.list.len().fill_null(0) == 0)
        .then(pl.lit("no_turns"))
        .when(~known.list.all())
        .then(pl.lit("unknown_role"))
        .when(blank)
        .then(pl.lit("empty_turn"))
    )
