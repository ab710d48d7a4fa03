"""Ids from text. Text never yields a special token: those come from templates alone.

`fastokens` encodes (60 times faster than `tokenizers` here, equal ids); `tokenizers` decodes,
and encodes where fastokens cannot load the tokenizer. What defines the ids is the reference:
SentencePiece for its models, `tokenizers` for all others.
"""

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import fastokens
import numpy as np
import numpy.typing as npt
import tokenizers

from data.vocabularies import (
    PACKAGED,
    WORDS,
    Definition,
    Reference,
    find_definition,
)

__all__ = ["PACKAGED", "WORDS", "Tokenizer", "Unencodable", "load_tokenizer"]

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]
_Encoder = Callable[[list[str]], tuple[Ids, Offsets]]


class Unencodable(ValueError):
    """Texts with bytes that the vocabulary lacks; `rows` are their places in the list."""

    def __init__(self, rows: list[int], why: str) -> None:
        self.rows = rows
        super().__init__(why)


class Tokenizer:
    """`vocabulary` counts ids; `eos` ends a document; `sha256` is of what defines it.

    `added` are special tokens of a template that the vocabulary lacked; they follow its last
    id. Encoder and decoder are built at first use: a plan needs only the figures.
    """

    def __init__(self, name: str, definition: Definition, added: Sequence[str] = ()) -> None:
        self.name = name
        self._definition = definition
        self.added = tuple(token for token in added if token not in definition.special)
        base = definition.vocabulary
        self.special = definition.special | {t: base + i for i, t in enumerate(self.added)}
        self.vocabulary = base + len(self.added)
        self.eos_token, self.bos_token = definition.eos, definition.bos
        self.eos = self.special[definition.eos] if definition.eos else None
        padding = definition.padding or definition.eos
        self.padding = self.special[padding] if padding else 0
        self.sha256 = definition.sha256
        if self.added:
            whole = json.dumps([definition.sha256, self.added])
            self.sha256 = hashlib.sha256(whole.encode()).hexdigest()
        self._by_reference = False

    def by_reference(self) -> "Tokenizer":
        """The same ids from the slower implementation that defines them."""
        other = copy.copy(self)
        other._by_reference = True
        return other

    def _plain(self, continued: bool) -> str:
        return _plain_json(self.json(), frozenset(self.special), continued)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - two entries, and tokenizers are few
    def _encoder(self, continued: bool) -> _Encoder:
        """For text that opens a section, or for text that continues one."""
        fast = None if self._by_reference else _fast(self._plain(continued))
        return fast or _flat(self._reference(continued))

    def _reference(self, continued: bool) -> Reference:
        if self._definition.reference and not continued:
            return self._definition.reference()
        return _slow(self._plain(continued))

    @functools.cached_property
    def _decoder(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self.json())

    def encode(self, texts: list[str], *, continued: bool = False) -> tuple[Ids, Offsets]:
        """Flat ids of all texts, and len(texts) + 1 offsets into them.

        `continued` text follows other text: no tokenizer's own leading space is put before it.
        Raises Unencodable where the vocabulary lacks a byte of a text.
        """
        encode = self._encoder(continued)
        try:
            return encode(texts)
        except ValueError as error:
            wrong = [row for row, text in enumerate(texts) if not _encodes(encode, text)]
            if not wrong:
                raise
            raise Unencodable(wrong, str(error)) from error

    def agrees(self, texts: list[str], *, continued: bool = False) -> bool:
        """Whether the reference gives the ids that `encode` gives."""
        ids, offsets = self.encode(texts, continued=continued)
        expected = self._reference(continued)(texts)
        found = np.split(ids, offsets[1:-1])
        return all(a.tolist() == b for a, b in zip(found, expected, strict=True))

    def decode(self, ids: list[int]) -> str:
        return self._decoder.decode(ids, skip_special_tokens=False)

    def json(self) -> str:
        """A tokenizer.json with the added tokens in it."""
        content = self._definition.json()
        if not self.added:
            return content
        whole = json.loads(content)
        whole.setdefault("added_tokens", []).extend(
            {
                "id": self.special[token],
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in self.added
        )
        return json.dumps(whole, ensure_ascii=False)


@functools.lru_cache(maxsize=16)
def load_tokenizer(name: str, added: tuple[str, ...] = ()) -> Tokenizer:
    """A packaged name, `words:[...]`, a tokenizer.json or its folder, or a hub id.

    Raises RecipeError where it cannot be found.
    """
    definition = find_definition(name)
    content = definition.json() if added else ""
    ordinary = [t for t in added if t not in definition.special and json.dumps(t) in content]
    if ordinary:  # known to the model, perhaps: then it keeps its id and turns special
        base = tokenizers.Tokenizer.from_str(content)
        known = {t: i for t in ordinary if (i := base.token_to_id(t)) is not None}
        definition = replace(definition, special=definition.special | known)
    return Tokenizer(name, definition, added)


@functools.lru_cache(maxsize=8)
def _fast(plain: str) -> _Encoder | None:
    """None where fastokens cannot load the tokenizer."""
    try:
        fast = fastokens.Tokenizer.from_json_str(plain)
    except ValueError:
        return None
    return _by_fastokens(fast)


@functools.lru_cache(maxsize=8)
def _slow(plain: str) -> Reference:
    slow = tokenizers.Tokenizer.from_str(plain)
    return lambda texts: [
        encoding.ids for encoding in slow.encode_batch_fast(texts, add_special_tokens=False)
    ]


def _by_fastokens(fast: Any) -> _Encoder:
    def encode(texts: list[str]) -> tuple[Ids, Offsets]:
        ids, offsets = fast.encode_batch_flat(texts)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)

    return encode


def _flat(reference: Reference) -> _Encoder:
    def encode(texts: list[str]) -> tuple[Ids, Offsets]:
        rows = reference(texts)
        ids = np.fromiter((i for row in rows for i in row), np.uint32)
        return ids, np.cumsum([0, *map(len, rows)], dtype=np.int64)

    return encode


def _encodes(encode: _Encoder, text: str) -> bool:
    try:
        encode([text])
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=8)
def _plain_json(content: str, special: frozenset[str], continued: bool) -> str:
    """The tokenizer without special tokens and post-processor: a BOS of the post-processor's
    would double the template's, and `</s>` in a document must stay text."""
    whole = json.loads(content)
    added = whole.get("added_tokens") or []
    special = special | {token["content"] for token in added if token.get("special")}
    whole["added_tokens"] = [token for token in added if token["content"] not in special]
    whole["post_processor"] = whole["truncation"] = whole["padding"] = None
    _hide(whole["model"], special)
    if continued:
        for part in ("normalizer", "pre_tokenizer"):
            whole[part] = _without_prefix(whole.get(part))
    return json.dumps(whole)


def _hide(model: dict[str, Any], special: frozenset[str]) -> None:
    """Give special tokens a name in the model's vocabulary that no text has, so that neither a
    word-level nor a unigram model nor a merge finds them."""

    def name(token: str, id: int) -> str:
        return f"\uffff hidden {id}\n\uffff" if token in special else token

    vocabulary, unknown = model.get("vocab"), model.get("unk_token")
    if isinstance(vocabulary, dict):
        if unknown is not None and unknown in vocabulary:
            model["unk_token"] = name(unknown, vocabulary[unknown])
        model["vocab"] = {name(token, id): id for token, id in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[name(p, id), score] for id, (p, score) in enumerate(vocabulary)]
    if model.get("merges"):
        pairs = (m if isinstance(m, list) else m.split(" ") for m in model["merges"])
        model["merges"] = [[a, b] for a, b in pairs if not special & {a, b, a + b}]


def _without_prefix(step: Any) -> Any:
    """A normalizer or pre-tokenizer that puts no space of its own before a text."""
    if not isinstance(step, dict):
        return step
    if step.get("type") == "Sequence":
        key = "normalizers" if "normalizers" in step else "pretokenizers"
        return {**step, key: [kept for s in step[key] if (kept := _without_prefix(s))]}
    if step.get("type") == "Prepend":
        return None
    changed = dict(step)
    if "add_prefix_space" in step:
        changed["add_prefix_space"] = False
    if "prepend_scheme" in step:
        changed["prepend_scheme"] = "never"
    return changed
