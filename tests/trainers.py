"""Run by the interpreter of .venv-train: what flows/trainer.py trains, and what it would train
were a mask broken. Writes one JSON object; tests/test_train.py judges it.

    python -m tests.trainers FOLDER RESULT
"""

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import torch

from data.loader import Loader, Rows
from flows.checkpoints import COMMITTED, checkpoints, read_curve
from flows.small_models import make_model
from flows.trainer import Record, Stopped, train

Batch = dict[str, torch.Tensor]
SIZES = {"kind": "gpt2", "layers": 1, "heads": 1, "width": 32}


def job(shards: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "shards": str(shards),
        "folder": str(folder),
        "held_out": {},
        "validation": False,
        "from": None,
        "model": SIZES,
        "vocabulary": 12,
        "eos": None,
        "length": Rows(shards).sequence_length,
        "steps": 12,
        "batch_rows": 8,
        "learning_rate": 1e-2,
        "seed": 0,
        "prompts": [],
        "stops": [],
        "temperature": 0.0,
    }
    return {**given, **changes}


def nothing(value: object) -> None:
    pass


def small_ever(folder: Path) -> dict[str, Any]:
    sizes = {"kind": "gpt2", "layers": 1, "heads": 1, "width": 2}
    given = job(
        folder / "small-ever", folder / "run", model=sizes, vocabulary=4, steps=200,
        learning_rate=0.05, prompts=[[0]], stops=[2],
    )  # fmt: skip
    begun = time.process_time()
    model = train(given, nothing, nothing)
    seconds = time.process_time() - begun
    model.eval()
    with torch.no_grad():
        chances = model(input_ids=torch.tensor([[0]])).logits[0, -1].softmax(-1)
    written = json.loads((folder / "run" / "samples.json").read_text())["after"]
    return {
        "parameters": model.num_parameters(),
        "creatrice": float(chances[1]),
        "seconds": seconds,
        "written": written,
    }


class Killed(Exception):
    pass


def kill_at(step: int) -> Callable[[Record], None]:
    """As a kill would: in the middle of a step, with nothing more written."""

    def interrupt(record: Record) -> None:
        def emit(event: dict[str, Any]) -> None:
            if event.get("step") == step:
                raise Killed

        record.emit = emit

    return interrupt


def stop_at(step: int) -> Callable[[Record], None]:
    """As a signal does: the step is finished and its checkpoint written."""

    def interrupt(record: Record) -> None:
        def emit(event: dict[str, Any]) -> None:
            record.stop |= event.get("step") == step - 1

        record.emit = emit

    return interrupt


def cut_off(given: dict[str, Any], interrupt: Callable[[Record], None]) -> None:
    try:
        train(given, nothing, interrupt)
    except (Killed, Stopped):
        return
    raise RuntimeError("the run was not cut off")


def resumed(folder: Path) -> dict[str, Any]:
    """loss.csv of a run as it is, and of runs that were cut off and resumed."""
    found: dict[str, Any] = {}
    llama = {**SIZES, "kind": "llama", "heads": 2}
    runs = {"gpt2": ("whole", "killed", "stopped", "forgetful"), "llama": ("whole", "killed")}
    for kind, sizes in (("gpt2", SIZES), ("llama", llama)):
        for name in runs[kind]:
            given = job(folder / "rows", folder / f"{kind}-{name}", model=sizes)
            if name in ("killed", "forgetful"):
                cut_off(given, kill_at(7))
                torn = Path(given["folder"]) / "checkpoints" / "checkpoint-7"
                torn.mkdir(exist_ok=True)
            if name == "stopped":
                cut_off(given, stop_at(5))
            if name == "forgetful":  # what this check must see: a loader that begins anew
                path = checkpoints(Path(given["folder"]))[-1] / COMMITTED
                state = json.loads(path.read_text())
                state["loader"] |= {"epoch": 0, "row": 0}
                path.write_text(json.dumps(state))
            train(given, nothing, nothing)
            found[f"{kind} {name}"] = read_curve(Path(given["folder"]))
    return found


def learn(rows: Path, vocabulary: int, change: Callable[[Batch], Batch]) -> float:
    """The loss at the end of 150 steps on batches of which one thing is changed."""
    torch.manual_seed(0)
    read = Rows(rows)
    model = make_model(SIZES, vocabulary, read.sequence_length, None)
    loader = Loader(read, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for batch in islice(endless(loader), 150):
        loss = model(**change(batch), use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return sum(losses[-5:]) / 5


def endless(loader: Loader) -> Iterator[Batch]:
    while True:
        yield from loader


def kept(batch: Batch) -> Batch:
    return batch


def leak(batch: Batch) -> Batch:
    """One document a row, as far as attention knows."""
    positions = torch.arange(batch["input_ids"].shape[1])
    return {**batch, "position_ids": positions.expand_as(batch["input_ids"])}


def shift(batch: Batch) -> Batch:
    """The labels shifted for a model that shifts them itself."""
    return {**batch, "labels": batch["labels"].roll(-1, 1)}


def masks(folder: Path) -> dict[str, float]:
    return {
        "borders kept": learn(folder / "secrets", 12, kept),
        "borders dropped": learn(folder / "secrets", 12, leak),
        "labels in place": learn(folder / "pairs", 16, kept),
        "labels shifted": learn(folder / "pairs", 16, shift),
    }


def logits(folder: Path) -> dict[str, float]:
    """The largest difference between packed documents' logits and those of each alone."""
    rows = Rows(folder / "rows")
    batch = next(iter(Loader(rows, 16)))
    torch.manual_seed(0)
    model = make_model({**SIZES, "layers": 2}, 12, rows.sequence_length, None).eval()
    with torch.no_grad():
        return {f.__name__: apart(model, batch, f(batch)) for f in (kept, leak)}


def apart(model: Any, batch: Batch, given: Batch) -> float:
    out = model(**given, use_cache=False).logits
    worst = 0.0
    for ids, positions, row in zip(batch["input_ids"], batch["position_ids"], out, strict=True):
        starts = (positions == 0).nonzero().flatten().tolist()
        for first, last in zip(starts, [*starts[1:], len(ids)], strict=True):
            alone = model(input_ids=ids[first:last][None], use_cache=False).logits[0]
            worst = max(worst, float((row[first:last] - alone).abs().max()))
    return worst


def nanogpt(folder: Path) -> list[float]:
    """Random windows of a flat file, targets one further: how nanoGPT reads train.bin."""
    stream = np.memmap(folder / "nanogpt" / "train.bin", dtype=np.uint16, mode="r")
    rng, length = np.random.default_rng(0), 32
    torch.manual_seed(0)
    model = make_model(SIZES, 257, length, None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        at = rng.integers(0, len(stream) - length, 12)[:, None] + np.arange(length)
        x, y = (torch.from_numpy(stream[at + k].astype(np.int64)) for k in (0, 1))
        out = model(input_ids=x, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(out.flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


def diverging(folder: Path) -> str:
    """What a user reads whose learning rate is far too high."""
    given = job(folder / "rows", folder / "diverging", learning_rate=math.inf)
    try:
        train(given, nothing, nothing)
    except Exception as error:  # noqa: BLE001 - the test looks at what it was
        return f"{type(error).__name__}: {error}"
    return "trained"


CHECKS: tuple[Callable[[Path], Any], ...] = (
    small_ever,
    resumed,
    masks,
    logits,
    nanogpt,
    diverging,
)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for check in CHECKS:
        begun = time.process_time()
        try:
            found[check.__name__] = check(folder)
        except Exception:  # noqa: BLE001 - the test that asks for it fails with it
            found[check.__name__] = {"error": traceback.format_exc()}
        print(check.__name__, round(time.process_time() - begun, 1), "s of CPU")
    Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
