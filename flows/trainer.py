"""Trains small models on packed shards, under an interpreter that has torch and transformers.

    python -m flows.trainer JOBS.json

It knows ids only: flows/training.py makes the jobs and turns what comes back into text. Of this
project it imports data.loader alone, which needs pyarrow and NumPy. Events go to stdout, a JSON
object a line.
"""

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

from data.loader import Batch, Collator, Loader, Rows
from flows.checkpoints import (
    CHECKPOINTS,
    COMMITTED,
    CURVE,
    RESULT,
    SAMPLES,
    Curve,
    checkpoints,
    commit,
)
from flows.small_models import generate, held_out, load_model, make_model, text_batches, validate

Emit = Callable[[dict[str, Any]], None]
THREADED = 1_000_000
"""Models of fewer parameters train on one core: their threads would mostly wait for each other."""


class TrainingFailed(Exception):
    """One line that tells why."""


class Stopped(Exception):
    """A signal came; the last checkpoint has everything."""


class Stream:
    """A loader's epochs one after the other; the Trainer takes what it needs and no more, so that
    the loader's state is that after the last step."""

    def __init__(self, rows: Rows, batch_rows: int, seed: int) -> None:
        size = min(batch_rows, len(rows))
        self.loader = Loader(rows, size, seed=seed, collate=self._collate)
        self.tokens = 0

    def _collate(self, batch: Batch) -> dict[str, Any]:
        self.tokens += int(batch.n_tokens.sum())
        return Collator()(batch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            yield from self.loader


class ReferenceTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer over a Stream. A cache would let packed documents see each other."""

    def __init__(self, stream: Stream, **settings: Any) -> None:
        self.stream = stream
        super().__init__(**settings)

    def get_train_dataloader(self) -> Stream:
        return self.stream

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if num_items_in_batch is not None:  # none of a batch's tokens may be trained
            num_items_in_batch = num_items_in_batch.clamp(min=1)
        given = {**inputs, "use_cache": False}
        return super().compute_loss(model, given, return_outputs, num_items_in_batch)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole one; what was cut off is removed."""
    whole = checkpoints(folder)
    for path in (folder / CHECKPOINTS).glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path)
    return whole[-1] if whole else None


class Record(TrainerCallback):  # type: ignore[misc]
    """Writes the curve and what a checkpoint needs besides the Trainer's own files."""

    def __init__(
        self, stream: Stream, curve: Curve, every: int, validation: Callable[[], float | None],
        emit: Emit, seconds: float,
    ) -> None:  # fmt: skip
        self.stream, self.curve, self.every = stream, curve, every
        self.validation, self.emit, self.before = validation, emit, seconds
        self.begun, self.tokens_before = time.monotonic(), stream.tokens
        self.stop = False

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.begun

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stop or state.global_step == state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" not in logs:
            return
        step, loss = state.global_step, logs["loss"]
        if not math.isfinite(loss):
            raise TrainingFailed(f"the loss is {loss} at step {step}; lower --learning-rate")
        due = step % self.every == 0 or step == state.max_steps
        validation = self.validation() if due else None
        self.curve.add(step, loss, validation, self.stream.tokens)
        rate = (self.stream.tokens - self.tokens_before) / (time.monotonic() - self.begun)
        self.emit({"step": step, "loss": loss, "validation": validation, "rate": rate})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        facts = {"tokens": self.stream.tokens, "seconds": self.seconds}
        loader = self.stream.loader.state_dict()
        (checkpoint / "training_args.bin").unlink(missing_ok=True)  # a pickle, and not needed
        commit(checkpoint / COMMITTED, {"step": state.global_step, "loader": loader, **facts})


def train(job: Mapping[str, Any], emit: Emit, interrupt: Callable[[Record], None]) -> Any:
    """Train as the job says, from its last checkpoint where there is one; gives the model.

    `interrupt` gets what to set `stop` of. Raises Stopped where that was set.
    """
    folder, steps = Path(job["folder"]), job["steps"]
    every = max(1, steps // 10)
    rows = Rows(job["shards"])
    stream = Stream(rows, job["batch_rows"], job["seed"])
    checkpoint = last_checkpoint(folder)
    state: dict[str, Any] = {"step": -1, "tokens": 0, "seconds": 0.0}
    set_seed(job["seed"])
    if checkpoint is not None:
        state = json.loads((checkpoint / COMMITTED).read_text())
        stream.loader.load_state_dict(state["loader"])
        stream.tokens = state["tokens"]
        emit({"resumed": state["step"]})
    source = checkpoint or job["from"]
    size = job["vocabulary"], job["length"]
    model = (
        load_model(str(source), *size) if source else make_model(job["model"], *size, job["eos"])
    )
    _limit_threads(model)

    def validation() -> float | None:
        if not job["validation"]:
            return None
        rows = held_out(job["shards"], "validation", job["batch_rows"])
        loss: float = validate(model, rows)
        return loss

    curve = Curve(folder / CURVE, state["step"])
    samples = folder / SAMPLES
    if checkpoint is None:
        commit(samples, {"before": generate(model, job)})
        curve.add(0, None, validation(), 0)
    model.train()
    record = Record(stream, curve, every, validation, emit, state["seconds"])
    interrupt(record)
    if state["step"] < steps:
        settings = TrainingArguments(
            output_dir=str(folder / CHECKPOINTS),
            per_device_train_batch_size=stream.loader.batch_rows,
            max_steps=steps,
            learning_rate=job["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 20),
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=2,
            ignore_data_skip=True,  # the loader's own state is loaded instead
            remove_unused_columns=False,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=job["seed"],
        )
        trainer = ReferenceTrainer(stream, model=model, args=settings, callbacks=[record])
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if trainer.state.global_step < steps:
            raise Stopped
    after = {**json.loads(samples.read_text()), "after": generate(model, job)}
    commit(samples, after)
    facts = {"parameters": model.num_parameters(), "tokens": stream.tokens}
    commit(folder / RESULT, {**facts, "seconds": record.seconds})
    return model


def _limit_threads(model: Any) -> None:
    if model.num_parameters() < THREADED:
        torch.set_num_threads(1)


def evaluate(job: Mapping[str, Any], emit: Emit) -> None:
    """The loss of a finished run's model on each set of held-out rows or ids."""
    checkpoint = last_checkpoint(Path(job["folder"]))
    if checkpoint is None:
        raise TrainingFailed(f"{job['folder']} holds no whole checkpoint")
    model = load_model(str(checkpoint), job["vocabulary"], job["length"])
    _limit_threads(model)
    for name, place in job["held_out"].items():
        size = job["batch_rows"]
        text = place.endswith(".npy")
        batches = (
            text_batches(np.load(place), job["length"], size)
            if text
            else held_out(place, "validation", size)
        )
        emit({"folder": job["folder"], "held_out": name, "loss": validate(model, batches)})


def main(path: str) -> int:
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no event
    disable_progress_bar()

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    def interrupt(record: Record) -> None:
        def stop(number: int, frame: object) -> None:
            record.stop = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    try:
        for job in json.loads(Path(path).read_text()):
            emit({"job": job["folder"]})
            if job["held_out"]:
                evaluate(job, emit)
            else:
                train(job, emit, interrupt)
    except TrainingFailed as error:
        emit({"error": str(error)})
        return 1
    except Stopped:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
