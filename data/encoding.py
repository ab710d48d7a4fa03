"""Segments of text and special tokens to ids, loss spans and places to cut; columnar."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.packing import copy_segments, mix64
from data.templates import Rendered, merge
from data.templates.segments import REJECTED
from data.tokenization import Tokenizer, Unencodable

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Lists:
    """A list a row: row i holds `values[offsets[i]:offsets[i + 1]]`."""

    values: Ints
    offsets: Ints


@dataclass(frozen=True)
class Encoded:
    """Documents, one a row. Positions count from the document's first token.

    `spans` are start,end pairs of what the loss counts; `cuts` are the lengths to which a
    conversation may be cut, its own length last (none for a text, which may be split anywhere).
    `rejected` holds `row`, `reason`, `detail` of rows that no gate lets through; `disagreeing`
    counts rows whose text, tokenized in one, gives other ids than its segments.
    """

    ids: Ids
    offsets: Ints
    spans: Lists
    cuts: Lists
    rejected: pl.DataFrame
    disagreeing: int


@dataclass(frozen=True)
class _Pieces:
    """Encoded segments: `start` and `length` within `ids`; `offsets` of the rows."""

    ids: Ids
    start: Ints
    length: Ints
    row: Ints
    offsets: Ints


def encode(
    rendered: Rendered, rows: int, tokenizer: Tokenizer, *, own_space: bool, masked: bool
) -> Encoded:
    """All rows of a part. `own_space`: the template writes the space with which some
    tokenizers open a text."""
    segments, rejected = rendered.segments, rendered.rejected
    while True:
        merged = merge(segments, masked=masked) if len(rendered.conversations) else segments
        try:
            pieces = _encode(merged, rows, tokenizer, own_space=own_space)
        except Unencodable as error:
            lost = pl.DataFrame({"row": error.rows}, schema={"row": pl.UInt32})
            why = {"reason": pl.lit("lacks_bytes"), "detail": pl.lit(str(error)[:300])}
            rejected = pl.concat([rejected, lost.unique().with_columns(**why).cast(REJECTED)])
            segments = segments.join(lost, on="row", how="anti", maintain_order="left")
        else:
            break
    talks = np.zeros(rows, bool)
    talks[rendered.conversations.to_numpy()] = True
    spans = (
        _spans(merged, pieces)
        if masked
        else Lists(np.zeros(0, np.int64), np.zeros(rows + 1, np.int64))
    )
    cuts = _cuts(merged, pieces, talks)
    gates = _gates(merged, pieces, spans, talks, tokenizer) if masked else []
    disagreeing = 0
    if masked and len(rendered.conversations):
        whole = _encode(merge(segments, masked=False), rows, tokenizer, own_space=own_space)
        disagreeing = _differing(pieces, whole)
    rejected = pl.concat([rejected, *gates]).unique("row", keep="first", maintain_order=True)
    return Encoded(pieces.ids, pieces.offsets, spans, cuts, rejected, disagreeing)


def sample_agrees(
    rendered: Rendered, ids: npt.NDArray[np.uint64], tokenizer: Tokenizer, *, own_space: bool
) -> bool:
    """Whether the reference gives the same ids for a sample that follows from the documents'
    `ids` alone; the chance falls with the length, so that each costs about the same."""
    texts = rendered.segments.filter(pl.col("text").is_not_null())
    size = texts.group_by("row").agg(size=pl.col("text").str.len_chars().sum())
    rows = size["row"].to_numpy()
    chance = mix64(ids[rows], 0x0C0FFEE) / 2.0**64
    chosen = size.filter(pl.Series(chance * size["size"].to_numpy() < 8, dtype=pl.Boolean))["row"]
    sampled = rendered.segments.filter(pl.col("row").is_in(chosen.implode()))
    opening, _ = _kinds(sampled)
    text = sampled["text"]
    for continued in (False, True):
        here = text.filter(pl.Series(opening != continued) & text.is_not_null()).to_list()
        if here and not tokenizer.agrees(here, continued=continued or own_space):
            return False
    return True


def _kinds(segments: pl.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which segments open a section (a document or what follows a special token), and which
    are special tokens."""
    special = segments["special"].is_not_null().to_numpy()
    row = segments["row"].to_numpy()
    opening = np.ones(len(row), bool)
    opening[1:] = (row[1:] != row[:-1]) | special[:-1]
    return opening, special


def _encode(segments: pl.DataFrame, rows: int, tokenizer: Tokenizer, *, own_space: bool) -> _Pieces:
    row = segments["row"].to_numpy().astype(np.int64)
    opening, special = _kinds(segments)
    length = np.ones(len(row), np.int64)
    made = []
    for continued in (False, True):
        places = np.flatnonzero(~special & (opening != continued))
        texts = segments["text"].gather(places).to_list()
        try:
            ids, offsets = tokenizer.encode(texts, continued=continued or own_space)
        except Unencodable as error:
            raise Unencodable(row[places[error.rows]].tolist(), str(error)) from error
        length[places] = np.diff(offsets)
        made.append((places, ids, offsets))
    start = np.cumsum(length) - length
    flat = np.empty(int(length.sum()), np.uint32)
    for places, ids, offsets in made:
        copy_segments(ids, offsets[:-1], flat, start[places], length[places])
    named = segments["special"].drop_nulls()
    flat[start[special]] = named.replace_strict(
        {token: tokenizer.special[token] for token in named.unique()}, return_dtype=pl.UInt32
    ).to_numpy()
    sizes = np.bincount(row, length, minlength=rows).astype(np.int64)
    return _Pieces(flat, start, length, row, np.concatenate(([0], np.cumsum(sizes))))


def _grouped(values: Ints, rows_of: Ints, rows: int) -> Lists:
    counts = np.bincount(rows_of, minlength=rows)
    return Lists(values, np.concatenate(([0], np.cumsum(counts))).astype(np.int64))


def _spans(segments: pl.DataFrame, pieces: _Pieces) -> Lists:
    """Neighbouring trained segments as one span."""
    some = pieces.length > 0
    trained = segments["trained"].to_numpy()[some]
    row = pieces.row[some]
    before = pieces.start[some] - pieces.offsets[row]
    after = before + pieces.length[some]
    joined = np.zeros(len(row), bool)
    joined[1:] = trained[1:] & trained[:-1] & (row[1:] == row[:-1])
    first = trained & ~joined
    last = trained & ~np.append(joined[1:], False)
    pairs = np.stack([before[first], after[last]], axis=1).reshape(-1)
    return _grouped(pairs, np.repeat(row[first], 2), len(pieces.offsets) - 1)


def _cuts(segments: pl.DataFrame, pieces: _Pieces, talks: npt.NDArray[np.bool_]) -> Lists:
    size = np.diff(pieces.offsets)
    here = segments["ends"].to_numpy() & talks[pieces.row]
    at = (pieces.start + pieces.length - pieces.offsets[pieces.row])[here]
    row = pieces.row[here]
    inside = at < size[row]
    whole = np.flatnonzero(talks & (size > 0))
    values = np.concatenate([at[inside], size[whole]])
    rows = np.concatenate([row[inside], whole])
    order = np.lexsort((values, rows))
    return _grouped(values[order], rows[order], len(size))


def _gates(
    segments: pl.DataFrame,
    pieces: _Pieces,
    spans: Lists,
    talks: npt.NDArray[np.bool_],
    tokenizer: Tokenizer,
) -> list[pl.DataFrame]:
    """What must hold of a conversation before a loss mask can be trusted."""
    rows = len(talks)
    written = talks & (np.diff(pieces.offsets) > 0)
    trained = np.diff(spans.offsets) > 0
    closing = np.zeros(rows, bool)
    last = spans.values[np.maximum(spans.offsets[1:] - 1, 0)] if len(spans.values) else closing
    ids = pieces.ids[(pieces.offsets[:-1] + last - 1)[trained]]
    closing[trained] = np.isin(ids, list(tokenizer.special.values()))
    broken = {"nothing_trained": written & ~trained, "no_end_of_turn": written & trained & ~closing}
    if tokenizer.bos_token is not None:
        bos = tokenizer.special[tokenizer.bos_token]
        expected = np.bincount(
            pieces.row, (segments["special"] == tokenizer.bos_token).fill_null(False), rows
        )
        at = np.searchsorted(pieces.offsets, np.flatnonzero(pieces.ids == bos), "right") - 1
        broken["bos_count"] = written & (np.bincount(at, minlength=rows) != expected)
    return [
        pl.DataFrame({"row": np.flatnonzero(rows_of)})
        .with_columns(reason=pl.lit(reason), detail=pl.lit(""))
        .cast(REJECTED)
        for reason, rows_of in broken.items()
    ]


def _differing(one: _Pieces, other: _Pieces) -> int:
    """Rows whose ids differ."""
    sizes = np.diff(one.offsets)
    alike = sizes == np.diff(other.offsets)
    first = one.ids[np.repeat(alike, sizes)]
    second = other.ids[np.repeat(alike, np.diff(other.offsets))]
    owner = np.repeat(np.flatnonzero(alike), sizes[alike])
    return int((~alike).sum()) + len(np.unique(owner[first != second]))
