"""Run by the interpreter of .venv-train: what torch, transformers, TRL, datatrove and MosaicML
streaming make of our files. Prints one JSON object; tests/test_consumers.py judges it.

    python -m tests.consumers SHARDS EXPORTS RESULT
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}

import datasets
import numpy as np
import tokenizers
import torch
from datatrove.utils.dataset import DatatroveFileDataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from data.loader import Collator, Loader, Rows

VOCABULARY = 257
EOT = 256
SIZE = 256
STEPS = 24


def gpt2(attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": SIZE}
    off = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(vocab_size=VOCABULARY, attn_implementation=attention, **sizes, **off)
    return GPT2LMHeadModel(config)


def llama(attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=SIZE,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config)


def logits(shards: Path, exports: Path) -> dict[str, float]:
    """The largest difference between a document's logits in its packed row and alone."""
    rows = Rows(shards)
    fragments = np.diff(rows.take(np.arange(len(rows))).seq_lengths.starts)
    packed = rows.take(np.argsort(-fragments)[:4])
    fixed, flat = Collator()(packed), Collator(flatten=True)(packed)
    found: dict[str, float] = {}
    for make in (gpt2, llama):
        for attention in ("sdpa", "eager"):
            model = make(attention).eval()
            with torch.no_grad():
                for name, batch in (("rows", fixed), ("flattened", flat)):
                    ids, positions = batch["input_ids"], batch["position_ids"]
                    out = model(input_ids=ids, position_ids=positions, use_cache=False).logits
                    found[f"{make.__name__} {attention} {name}"] = apart(model, batch, out)
                ones = torch.ones_like(fixed["input_ids"])
                joined = model(
                    input_ids=fixed["input_ids"],
                    position_ids=fixed["position_ids"],
                    attention_mask=ones,
                    use_cache=False,
                ).logits
                found[f"{make.__name__} {attention} leaks"] = apart(model, fixed, joined)
    return found


def apart(model: Any, batch: dict[str, Any], out: Any) -> float:
    worst = 0.0
    for ids, positions, row in zip(batch["input_ids"], batch["position_ids"], out, strict=True):
        starts = (positions == 0).nonzero().flatten().tolist()
        for first, last in zip(starts, [*starts[1:], len(ids)], strict=True):
            alone = model(input_ids=ids[first:last][None], use_cache=False).logits[0]
            worst = max(worst, float((row[first:last] - alone).abs().max()))
    return worst


def loop(shards: Path, exports: Path) -> list[float]:
    """A plain training loop over the loader, as the README shows it."""
    model = gpt2().train()
    loader = Loader(Rows(shards), batch_rows=8, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses: list[float] = []
    for batch in islice(loader, STEPS):
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


def settings(folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": 8,
        "max_steps": STEPS,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }


def losses_of(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def trainer(shards: Path, exports: Path) -> list[float]:
    model = gpt2()
    model.config.use_cache = False
    arguments = TrainingArguments(**settings("runs"), remove_unused_columns=False)
    return losses_of(
        Trainer(model, arguments, train_dataset=Rows(shards), data_collator=Collator())
    )


def unused_columns(shards: Path, exports: Path) -> str:
    """What a user reads who forgets that setting."""
    arguments = TrainingArguments(**settings("runs"))
    forgetful = Trainer(gpt2(), arguments, train_dataset=Rows(shards), data_collator=Collator())
    try:
        forgetful.train()
    except ValueError as error:
        return str(error)
    return ""


def trainer_hf(shards: Path, exports: Path) -> list[float]:
    """Without a line of ours: the hf export and transformers' own collator."""
    model = gpt2()
    model.config.use_cache = False
    train = datasets.load_from_disk(str(exports / "hf"))["train"]
    return losses_of(Trainer(model, TrainingArguments(**settings("runs")), train_dataset=train))


def sft(shards: Path, exports: Path) -> dict[str, Any]:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<|endoftext|>": 0}, "<|endoftext|>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|endoftext|>")
    train = datasets.load_from_disk(str(exports / "hf"))["train"]
    model = llama()
    model.config.use_cache = False
    config = SFTConfig(**settings("runs"), packing=False, padding_free=True, max_length=None)
    made = SFTTrainer(model, config, train_dataset=train, processing_class=tokenizer)
    examples = [made.train_dataset[i] for i in range(8)]
    given = made.data_collator(examples)
    ours = Collator()(Rows(shards).take(np.arange(8)))
    same = {name: bool((given[name].flatten() == ours[name].flatten()).all()) for name in ours}
    return {"losses": losses_of(made), "same": same}


def datatrove(shards: Path, exports: Path) -> dict[str, Any]:
    """Its dataset reads windows of 65 ids one after the other, positions from the index."""
    folder = exports / "datatrove" / "train"
    read = DatatroveFileDataset(str(folder / "tokens.ds"), 64, 2, return_positions=True)
    items = [read[i] for i in range(len(read))]
    ids = torch.cat([item["input_ids"] for item in items]).numpy()
    stream = np.fromfile(exports / "nanogpt" / "train.bin", np.uint16)
    whole = len(stream) // 65 * 65
    return {
        "ids": bool((ids == stream[:whole]).all()) and len(ids) == whole,
        "positions": all(
            bool(((item["positions"][1:] == 0) == (item["input_ids"][:-1] == EOT)).all())
            for item in items
        ),
        "windows": len(items),
    }


def stand_in_for_torchvision() -> None:
    """MosaicML streaming imports it for pictures alone, and beside a CPU build of torch there is
    none."""
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".datasets.folder"):
        stand_in = ModuleType(f"torchvision{name}")
        stand_in.__getattr__ = lambda attribute: object  # type: ignore[method-assign]
        sys.modules.setdefault(f"torchvision{name}", stand_in)


def mds(shards: Path, exports: Path) -> dict[str, Any]:
    stand_in_for_torchvision()
    from streaming import LocalDataset  # noqa: PLC0415 - after the stand-in

    rows = Rows(shards)
    batch = rows.take(np.arange(len(rows)))
    samples = list(LocalDataset(local=str(exports / "mds" / "train")))
    lengths = [s["seq_lengths"][s["seq_lengths"] > 0] for s in samples]
    return {
        "rows": len(samples),
        "tokens": bool((np.stack([s["tokens"] for s in samples]) == batch.input_ids).all()),
        "n_tokens": [int(s["n_tokens"]) for s in samples] == batch.n_tokens.tolist(),
        "seq_lengths": bool((np.concatenate(lengths) == batch.seq_lengths.values).all()),
        "dtype": samples[0]["tokens"].dtype.name,
    }


CHECKS: tuple[Callable[[Path, Path], Any], ...] = (
    logits,
    loop,
    trainer,
    unused_columns,
    trainer_hf,
    sft,
    datatrove,
    mds,
)


def main() -> None:
    shards, exports = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for check in CHECKS:
        try:
            found[check.__name__] = check(shards, exports)
        except Exception:  # noqa: BLE001 - the test that asks for it fails with it
            found[check.__name__] = {"error": traceback.format_exc()}
    Path(sys.argv[3]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
