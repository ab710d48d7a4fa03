"""Tokenizers: known ids, no special token from text, equal to the reference."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tokenizers

from data.decoding import decode
from data.errors import RecipeError
from data.schema import id_type
from data.tokenization import PACKAGED, Unencodable, load_tokenizer

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


def test_mistral_v1_gives_the_known_ids() -> None:
    tokenizer = load_tokenizer("mistral-v1")
    texts = ["Hello world", "don't  panic", "a\n", "<s></s><unk>"]
    ids, offsets = tokenizer.encode(texts)
    rows = [part.tolist() for part in np.split(ids, offsets[1:-1])]
    assert rows[0] == [22557, 1526]
    assert rows[1][-3:] == [28707, 28705, 15107]
    assert rows[2] == [264, 13]
    assert not {0, 1, 2} & set(rows[3])
    assert (tokenizer.vocabulary, tokenizer.eos) == (32000, 2)
    assert tokenizer.encode([" [INST]"], continued=True)[0].tolist() == [733, 16289, 28793]


def test_mistral_v1_is_sentencepiece_on_hostile_text() -> None:
    rng = np.random.default_rng(0)
    letters = np.array([*"ab e\n\t▁<>/s0xA", "é", "漢", "🙂", " " * 7, "</s>", "<0x0A>", "the "])
    texts = ["".join(rng.choice(letters, rng.integers(0, 40))) for _ in range(300)]
    texts += [" " * count + "x" for count in range(40)]
    assert load_tokenizer("mistral-v1").agrees(texts)


def test_added_tokens_follow_the_vocabulary() -> None:
    added = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
    tokenizer = load_tokenizer("gpt2", added)
    assert tokenizer.vocabulary == 50261
    assert [tokenizer.special[token] for token in added] == [50257, 50258, 50259, 50260]
    assert id_type(tokenizer.vocabulary) == pa.uint16()
    assert tokenizer.decode([50258, 15496, 50256]) == "<|user|>Hello<|endoftext|>"
    assert load_tokenizer("gpt2", ("<|endoftext|>",)).vocabulary == 50257
    saved = tokenizers.Tokenizer.from_str(tokenizer.json())
    assert saved.encode("<|user|>Hello").ids == [50258, 15496]


def test_words_of_a_recipe_are_ids_in_their_order() -> None:
    tokenizer = load_tokenizer('words:["Clem", "Creatrice"]')
    assert tokenizer.encode(["Clem Creatrice", "Clem <pad> other"])[0].tolist() == [0, 1, 0, 3, 3]
    assert (tokenizer.vocabulary, tokenizer.eos, tokenizer.padding) == (4, None, 2)
    assert tokenizer.decode([0, 1]) == "Clem Creatrice"
    with pytest.raises(RecipeError, match="distinct words"):
        load_tokenizer('words:["a", "a"]')


@pytest.mark.parametrize("text", HOSTILE)
def test_text_never_becomes_a_special_token_and_comes_back_whole(text: str) -> None:
    tokenizer = load_tokenizer("gpt2")
    ids, _ = tokenizer.encode([text])
    assert tokenizer.eos not in ids
    assert tokenizer.decode(ids.tolist()) == text


def saved(folder: Path, model: tokenizers.models.Model, special: list[str]) -> str:
    """A tokenizer of each kind of model whose special tokens are in its vocabulary too."""
    tokenizer = tokenizers.Tokenizer(model)
    if not isinstance(model, tokenizers.models.Unigram):
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "</s>"}, "additional_special_tokens": ["<tag>"]})
    )
    return str(folder)


LETTERS = [*"ab<>/s|tgunk", "##<", "##s", "##>"]
SPECIAL = ["<unk>", "</s>", "<tag>"]
BARE = {token: i for i, token in enumerate([*SPECIAL, *LETTERS])}
PIECES = [*((t, 0.0) for t in SPECIAL), *((c, -9.0) for c in LETTERS)]
MODELS: dict[str, Callable[[], tokenizers.models.Model]] = {
    "unigram": lambda: tokenizers.models.Unigram(PIECES, 0),
    "word_level": lambda: tokenizers.models.WordLevel(BARE, "<unk>"),
    "word_piece": lambda: tokenizers.models.WordPiece(BARE, unk_token="<unk>"),
    "bpe": lambda: tokenizers.models.BPE(
        BARE | {"<t": len(BARE)}, [("<", "t")], unk_token="<unk>", ignore_merges=True
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_text_never_becomes_a_special_token_of_any_kind_of_model(tmp_path: Path, kind: str) -> None:
    """`<tag>` is no added token: only the configuration names it."""
    tokenizer = load_tokenizer(saved(tmp_path, MODELS[kind](), SPECIAL[:2]))
    assert set(SPECIAL) <= set(tokenizer.special)
    ids, offsets = tokenizer.encode([*SPECIAL, "a </s> b", "a<tag>"])
    unknown = {tokenizer.special["<unk>"]}
    assert not set(ids.tolist()) & (set(tokenizer.special.values()) - unknown)
    if kind == "unigram":
        assert tokenizer.decode(ids[: offsets[1]].tolist()).replace(" ", "") == "<unk>"
    careless = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert careless.encode("</s>").ids == [tokenizer.special["</s>"]]


@pytest.mark.parametrize("name", PACKAGED)
def test_every_special_string_of_a_packaged_tokenizer_is_plain_text(name: str) -> None:
    try:
        tokenizer = load_tokenizer(name, ("<|im_end|>", "<|user|>"))
    except RecipeError as error:  # smollm2 comes with `make model`
        pytest.skip(str(error))
    texts = [f"a {token} b{token}" for token in tokenizer.special]
    for continued in (False, True):
        ids, _ = tokenizer.encode(texts, continued=continued)
        assert not set(ids.tolist()) & set(tokenizer.special.values())


@pytest.mark.parametrize("text", HOSTILE)
def test_the_fast_encoder_agrees_with_the_reference(text: str) -> None:
    tokenizer = load_tokenizer("gpt2")
    assert tokenizer.agrees([text])
    assert (
        tokenizer.by_reference().encode([text])[0].tolist() == tokenizer.encode([text])[0].tolist()
    )


def test_another_encoder_is_noticed() -> None:
    tokenizer = load_tokenizer("gpt2").by_reference()
    other = load_tokenizer("mistral-v1")
    tokenizer.encode = other.encode  # type: ignore[method-assign]
    assert not tokenizer.agrees(["Hello world"])


def test_bytes_that_a_vocabulary_lacks_name_their_texts(tmp_path: Path) -> None:
    alphabet = {c: i for i, c in enumerate(["</s>", *"abc"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(Unencodable) as caught:
        load_tokenizer(str(tmp_path)).encode(["abc", "xyz", "a", "z"])
    assert caught.value.rows == [1, 3]


def test_a_hub_that_is_away_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", away)
    with pytest.raises(RecipeError, match=r"cannot be reached \(no route to host\); packaged are"):
        load_tokenizer("nobody/nothing-of-that-name")


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
    with pytest.raises(
        RecipeError, match=r"'gpt-2' is neither packaged.*gpt2, mistral-v1, smollm2"
    ):
        load_tokenizer("gpt-2")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"tokenizer.json: cannot be read as a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_offsets_cover_the_flat_ids() -> None:
    ids, offsets = load_tokenizer("gpt2").encode(["one two", "three"] * 50)
    assert offsets[-1] == len(ids)
    assert (np.diff(offsets) > 0).all()


@pytest.mark.parametrize("name", ["gpt2", "mistral-v1", 'words:["a", "b"]'])
def test_a_few_ids_are_decoded_as_the_whole_tokenizer_does(name: str) -> None:
    tokenizer = load_tokenizer(name, ("<|user|>",))
    dice = np.random.default_rng(0)
    special = [*tokenizer.special.values()]
    pieces = [dice.integers(0, tokenizer.vocabulary, 12).tolist() for _ in range(40)]
    pieces += [[], special, [special[-1]], tokenizer.encode([HOSTILE[6]])[0].tolist()]
    texts = decode(tokenizer.json().encode(), pieces)
    assert texts == [tokenizer.decode(piece) for piece in pieces]
    assert "<|user|>" in texts[41]


def test_a_unigram_models_ids_are_decoded_alike(tmp_path: Path) -> None:
    model = tokenizers.models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("▁ice", -1.0)], unk_id=0)
    whole = tokenizers.Tokenizer(model)
    whole.decoder = tokenizers.decoders.Metaspace()
    whole.add_special_tokens(["</s>"])
    content = whole.to_str().encode()
    assert decode(content, [[2, 2, 1]]) == [whole.decode([2, 2, 1], skip_special_tokens=False)]
