"""Small GPT-2s and Llamas over packed rows: made, loaded, judged and asked, on ids alone.

Runs under the trainer's interpreter: see flows/trainer.py.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from data.loader import IGNORED, Loader, Rows

VALIDATION_ROWS = 256
"""At most so many rows are looked at each time; packing has shuffled them."""
NEW_TOKENS = 64


def make_model(sizes: Mapping[str, Any], vocabulary: int, length: int, eos: int | None) -> Any:
    """A GPT-2 or Llama of random weights, without dropout and with tied embeddings.

    No padding id is set: padding is told by its place, and its id may also end documents.
    """
    layers, heads, width = sizes["layers"], sizes["heads"], sizes["width"]
    ends = {"bos_token_id": None, "eos_token_id": eos, "pad_token_id": None}
    if sizes["kind"] == "llama":
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=8 * math.ceil(width / 3),
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=length,
            tie_word_embeddings=True,
            **ends,
        )
        return LlamaForCausalLM(config)
    shape = {"n_positions": length, "n_embd": width, "n_layer": layers, "n_head": heads}
    off = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **shape, **off, **ends))


def load_model(folder: str, vocabulary: int, length: int) -> Any:
    """A checkpoint's model, with new rows of its embedding where the vocabulary has grown."""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    if model.config.vocab_size < vocabulary:
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    if getattr(model.config, "max_position_embeddings", length) < length:
        model.config.max_position_embeddings = length
    return model


def validate(model: Any, batches: Iterable[Mapping[str, Any]]) -> float:
    """The mean loss of all trained tokens; nan where there are none."""
    total, count, training = 0.0, 0, model.training
    model.eval()
    for batch in batches:
        trained = int((batch["labels"][:, 1:] != IGNORED).sum())
        if trained:
            with torch.no_grad():
                total += trained * float(model(**batch, use_cache=False).loss)
        count += trained
    model.train(training)
    return total / count if count else math.nan


def held_out(folder: str, split: str, batch_rows: int) -> Iterator[dict[str, Any]]:
    loader = Loader(Rows(folder, split), batch_rows, shuffle=False, drop_last=False)
    return islice(iter(loader), -(-VALIDATION_ROWS // batch_rows))


def text_batches(ids: Any, length: int, batch_rows: int) -> Iterator[dict[str, Any]]:
    """Rows of a text's ids, cut as they come; what is left over is a row of its own."""
    pieces = [ids[at : at + length] for at in range(0, len(ids), length)][:VALIDATION_ROWS]
    whole = [piece for piece in pieces if len(piece) == length]
    groups = [whole[at : at + batch_rows] for at in range(0, len(whole), batch_rows)]
    for group in [*groups, *([piece] for piece in pieces if len(piece) < length)]:
        rows = torch.from_numpy(np.stack(group).astype(np.int64))
        positions = torch.arange(rows.shape[1]).expand_as(rows)
        yield {"input_ids": rows, "position_ids": positions, "labels": rows}


def generate(model: Any, job: Mapping[str, Any]) -> list[list[int]]:
    """What the model writes behind each prompt, ids."""
    model.eval()
    torch.manual_seed(job["seed"])
    found = []
    warm = job["temperature"] > 0
    how = {"do_sample": True, "temperature": job["temperature"]} if warm else {"do_sample": False}
    for prompt in job["prompts"]:
        ids = torch.tensor([prompt])
        room = min(NEW_TOKENS, job["length"] - len(prompt))
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max(1, room),
            eos_token_id=job["stops"] or None,
            pad_token_id=0,
            **how,
        )
        found.append(out[0, len(prompt) :].tolist())
    model.train()
    return found
