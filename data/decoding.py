"""Text of a few ids from a tokenizer.json, without building its encoder."""

from collections.abc import Sequence
from typing import Any

import orjson
import tokenizers


def decode(content: bytes, pieces: Sequence[Sequence[int]]) -> list[str]:
    """Each piece as text, special tokens included; the same as the whole tokenizer gives.

    The tokenizer's decoder is put behind a vocabulary of the ids that are asked for: a table of
    merges, which takes longest to build, has no part in it.
    """
    whole = orjson.loads(content)
    wanted = {id for piece in pieces for id in piece}
    model: dict[str, Any] = {"type": "WordLevel", "vocab": _tokens(whole, wanted), "unk_token": ""}
    small = {"version": "1.0", "model": model, "decoder": whole.get("decoder"), "added_tokens": []}
    decoder = tokenizers.Tokenizer.from_str(orjson.dumps(small).decode())
    return [decoder.decode(list(piece), skip_special_tokens=False) for piece in pieces]


def _tokens(whole: dict[str, Any], wanted: set[int]) -> dict[str, int]:
    """The vocabulary maps to ids, or lists a Unigram model's pieces with their scores."""
    vocabulary = whole["model"]["vocab"]
    if isinstance(vocabulary, list):
        known = {vocabulary[id][0]: id for id in wanted if id < len(vocabulary)}
    else:
        known = {token: id for token, id in vocabulary.items() if id in wanted}
    added = {token["content"]: token["id"] for token in whole.get("added_tokens") or ()}
    return known | {token: id for token, id in added.items() if id in wanted}
