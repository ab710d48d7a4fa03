"""The Arrow schemas of the tables between stages, and ids."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

SEEDS = pa.schema([("id", pa.uint64()), ("at", pa.string()), ("fields", pa.string())])
"""`at`: where the seed stands, FILE:LINE or a row's number; `fields`: the seed's columns as one
JSON object."""

SKIPPED = pa.schema([("at", pa.string()), ("reason", pa.string())])
"""Rows that are no seeds, with what is wrong with them."""

DIGESTS = pa.schema([("id", pa.uint64()), ("digest", pa.uint64())])
"""Of each prompt: a hash of what is asked of the model."""

PROMPTS = pa.schema(
    [
        ("id", pa.uint64()),
        ("seed_id", pa.uint64()),
        ("seed_text", pa.string()),
        ("topic", pa.string()),
        ("format", pa.string()),
        ("audience", pa.string()),
        ("knobs", pa.string()),
        ("seed", pa.string()),
        ("messages", pa.list_(MESSAGE)),
    ]
)
"""`knobs`: the kind's settings of this row as JSON; `seed`: the seed's columns as JSON;
`seed_id`: of a seed from an earlier generation that sample's id, so that a judge's verdict finds
what it judges."""

COMPLETIONS = pa.schema(
    [
        ("id", pa.uint64()),
        ("keys", pa.list_(pa.string())),
        ("text", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("error", pa.string()),
    ]
)
"""`keys`: the row's completions in the record; `text`: the last reply; `messages`: from the last
prompt on, where the exchange has more than one turn; `error`: the server's words where it
refused the row, else null."""

SAMPLES = pa.schema(
    [
        ("id", pa.uint64()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("tag", pa.string()),
        ("text", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("seed_id", pa.uint64()),
        ("seed_text", pa.string()),
        ("prompt", pa.string()),
        ("format", pa.string()),
        ("audience", pa.string()),
        ("topic", pa.string()),
        ("model", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("tokens", pa.int32()),
        ("licence", pa.string()),
        ("meta", pa.string()),
    ]
)
"""`tokens`: GPT-2 tokens of the text, whatever an output's tokenizer is, so that funnels and
thresholds of different recipes compare."""

VERDICTS = pa.schema(
    [
        ("id", pa.uint64()),
        ("filter", pa.string()),
        ("reason", pa.string()),
        ("figures", pa.string()),
    ]
)
"""`figures`: the numbers behind the reason as JSON."""


CHANGES = pa.schema(
    [
        ("id", pa.uint64()),
        ("text", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("tokens", pa.int32()),
        ("before_text", pa.string()),
        ("before_messages", pa.list_(MESSAGE)),
        ("before_tokens", pa.int32()),
    ]
)
"""What a cleaner made of the samples that it changed, and what they were before it."""


def tokens_schema(id_type: pa.DataType, *, masked: bool = False, talks: bool = False) -> pa.Schema:
    """One tokenized document a row; `source` indexes the names in the stage's manifest.

    `loss_spans`, where loss is masked, are start,end pairs of the trained tokens; `cuts`, where
    there may be conversations, are the lengths to which one may be cut, its own one last. A
    text has no cuts and may be split anywhere.
    """
    columns = [
        ("id", pa.uint64()),
        ("source", pa.uint8()),
        ("input_ids", pa.large_list(id_type)),
    ]
    if masked:
        columns.append(("loss_spans", pa.list_(pa.uint32())))
    if talks:
        columns.append(("cuts", pa.list_(pa.uint32())))
    return pa.schema(columns)


def packed_schema(id_type: pa.DataType, sequence_length: int, *, masked: bool = False) -> pa.Schema:
    """One packed row of `sequence_length` ids; the columns are explained in the card."""
    length = pa.uint16() if sequence_length <= 0xFFFF else pa.int32()
    columns = [
        ("input_ids", pa.list_(id_type, sequence_length)),
        ("seq_lengths", pa.list_(length)),
        ("n_tokens", pa.int32()),
        ("doc_ids", pa.list_(pa.uint64())),
        ("doc_offsets", pa.list_(pa.uint32())),
        ("source_ids", pa.list_(pa.uint8())),
    ]
    if masked:
        columns.insert(3, ("loss_spans", pa.list_(length)))
    return pa.schema(columns)


def id_type(vocabulary: int) -> pa.DataType:
    return pa.uint16() if vocabulary <= 0x10000 else pa.int32()


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces: the form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def make_id(value: object) -> int:
    """A uint64 from what made a row; stable across machines and versions."""
    return hash_bytes(canonical(value))


def hash_bytes(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def hash_rows(rows: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """`hash_bytes` of each: a call into C a row, and the ids that earlier builds gave."""
    hashed = b"".join([hashlib.blake2b(row, digest_size=8).digest() for row in rows])
    return np.frombuffer(hashed, "<u8").astype(np.uint64)


def fingerprint(value: object, digits: int = 12) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()[:digits]


def show_id(value: int) -> str:
    return f"{value:016x}"
