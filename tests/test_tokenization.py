"""Tokenizers: known ids, no special token from text, equal to the reference."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from data.errors import RecipeError
from data.tokenization import _gpt2_json, load_tokenizer

HOSTILE = (
    "<|endoftext|>",
    "a<|endoftext|>b",
    "",
    " ",
    "\n\n\t x",
    "don't  panic\u00a0",
    "漢字 🙂 e\u0301",
    "\x00\x7f",
    "x" * 5000,
)


def test_gpt2_gives_the_known_ids() -> None:
    tokenizer = load_tokenizer("gpt2")
    ids, offsets = tokenizer.encode(["Hello world", "", "I don't know"])
    assert ids[: offsets[1]].tolist() == [15496, 995]
    assert offsets.tolist() == [0, 2, 2, 6]
    assert ids[offsets[2] :].tolist() == [40, 836, 470, 760]
    assert (tokenizer.vocabulary, tokenizer.eos) == (50257, 50256)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_never_becomes_a_special_token_and_comes_back_whole(text: str) -> None:
    tokenizer = load_tokenizer("gpt2")
    ids, _ = tokenizer.encode([text])
    assert tokenizer.eos not in ids
    assert tokenizer.decode(ids.tolist()) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_the_fast_encoder_agrees_with_the_reference(text: str) -> None:
    reference = tokenizers.Tokenizer.from_str(_gpt2_json())
    ids, _ = load_tokenizer("gpt2").encode([text])
    assert ids.tolist() == reference.encode(text, add_special_tokens=False).ids


def wordlevel(folder: Path) -> Path:
    """A tokenizer.json with a special token that a careless encoder finds in text."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}))
    tokenizer.model.unk_token = "[UNK]"
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["</s>", "<s>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 4)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return folder


def test_a_folder_with_a_tokenizer_json_loads_without_its_bos(tmp_path: Path) -> None:
    folder = wordlevel(tmp_path)
    tokenizer = load_tokenizer(str(folder))
    ids, _ = tokenizer.encode(["a b </s> a"])
    assert ids.tolist() == [0, 1, 2, 0]
    assert (tokenizer.eos, tokenizer.vocabulary) == (3, 5)
    content = (folder / "tokenizer.json").read_bytes()
    assert tokenizer.sha256 == hashlib.sha256(content).hexdigest()


def test_a_tokenizer_that_is_nowhere_names_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"'gpt-2' is neither packaged.*gpt2, smollm2"):
        load_tokenizer("gpt-2")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"tokenizer.json: cannot be read as a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_offsets_cover_the_flat_ids() -> None:
    ids, offsets = load_tokenizer("gpt2").encode(["one two", "three"] * 50)
    assert offsets[-1] == len(ids)
    assert (np.diff(offsets) > 0).all()
