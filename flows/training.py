"""A training run as it is asked for: its settings, checkpoint, folder and interpreter."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data import ROOT
from data.errors import EngineError, RecipeError, ShardmillError
from data.loader import LoaderError, Rows
from data.parts import read_manifest, sha256_file
from flows.checkpoints import RESULT, SETTINGS, checkpoints, commit
from flows.train_samples import find_prompts
from inference.models import engine_python

NEEDS = ("torch", "transformers", "accelerate", "pyarrow", "numpy")
LOGS = "logs"
"""Where the lock of a folder lies."""
SIZES = {"nano": (2, 2, 32), "tiny": (4, 4, 128), "small": (6, 6, 384)}
"""Layers, heads, width."""

Kind = Literal["gpt2", "llama"]
Job = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the command line says of a run; `start` is a checkpoint or a run's folder."""

    model: Kind | None
    sizes: dict[str, int]
    steps: int
    batch_rows: int
    learning_rate: float
    seed: int
    start: Path | None = None
    prompts: tuple[str, ...] = ()
    temperature: float = 0.0


@dataclass(frozen=True)
class Run:
    """`settings` decide what comes out; `job` is what the trainer is told. `fresh`: what an earlier
    run left is removed first."""

    shards: Path
    folder: Path
    settings: Job
    job: Job
    fresh: bool

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).is_file()

    def begin(self) -> None:
        """Make the folder ready; only under its lock."""
        for path in self.folder.iterdir() if self.fresh else ():
            if path.name != LOGS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not (self.folder / SETTINGS).is_file():
            commit(self.folder / SETTINGS, self.settings)


def trainer_python() -> Path:
    """The interpreter that trains: SHARDMILL_TRAIN_PYTHON, this one, .venv-train, vLLM's.

    Raises EngineError where none has what is needed.
    """
    given = os.environ.get("SHARDMILL_TRAIN_PYTHON")
    if given:
        candidates = [Path(given).expanduser()]
    else:
        candidates = [Path(sys.executable), ROOT / ".venv-train" / "bin" / "python"]
        with suppress(EngineError):
            candidates.append(engine_python())
    for path in candidates:
        if _has_torch(path):
            return path
    raise EngineError(
        f"no interpreter here imports {', '.join(NEEDS)}",
        where=", ".join(map(str, candidates)),
        fix="run `make train-env`, or install '.[train]', or set SHARDMILL_TRAIN_PYTHON",
    )


def _has_torch(python: Path) -> bool:
    if python == Path(sys.executable):
        return all(importlib.util.find_spec(name) for name in NEEDS)
    script = (
        "import importlib.util, sys\nsys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))"
    )
    try:
        return not subprocess.run([str(python), "-c", script, *NEEDS], check=False).returncode
    except OSError:
        return False


def plan_run(shards: Path, options: Options, out: Path | None, *, fresh: bool = False) -> Run:
    """The run that `options` ask for, new or as far as it got.

    Raises RecipeError where the folder holds a run of other settings, or sizes do not fit.
    """
    manifest = read_manifest(shards) or {}
    try:
        rows = Rows(shards)
    except LoaderError as error:
        raise ShardmillError(str(error)) from error
    start, model = _model(options, manifest)
    folder = out or shards.resolve().parent.parent / "train" / f"{shards.name}-{model['kind']}"
    prompts = find_prompts(shards, manifest, options.prompts)
    settings: Job = {
        "manifest": rows.manifest_hash,
        "tokenizer": {key: manifest["tokenizer"][key] for key in ("name", "added")},
        "vocabulary": manifest["tokenizer"]["vocabulary"],
        "eos": manifest["tokenizer"]["eos"],
        "length": rows.sequence_length,
        "validation": bool(manifest["splits"].get("validation", {}).get("rows")),
        "model": model,
        "steps": options.steps,
        "batch_rows": options.batch_rows,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "prompts": prompts.ids,
        "stops": prompts.stops,
        "temperature": options.temperature,
    }
    places = {"shards": str(shards.resolve()), "folder": str(folder.resolve()), "held_out": {}}
    if not fresh:
        _check_settings(folder, settings)
    elif start and start.resolve().is_relative_to(folder.resolve()):
        raise RecipeError("--fresh would remove what --from starts with", where=str(folder))
    job = {**settings, **places, "from": start and str(start)}
    return Run(shards, folder, settings, job, fresh)


def _check_settings(folder: Path, settings: Job) -> None:
    path = folder / SETTINGS
    before = json.loads(path.read_bytes()) if path.is_file() else settings
    differing = [key for key in settings if before.get(key) != settings[key]]
    if differing:
        shown = ", ".join(f"{key} was {str(before.get(key))[:60]}" for key in differing)
        raise RecipeError(
            f"holds a run of other settings ({shown})",
            where=str(folder),
            fix="--fresh starts it over, --out takes another folder",
        )


def _model(options: Options, manifest: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The checkpoint to start from, if any, and what the model is."""
    if options.start is None:
        sizes = options.sizes
        layers, heads, width = (sizes[name] for name in ("layers", "heads", "width"))
        if min(layers, heads, width) < 1 or width % heads:
            raise RecipeError(f"--heads {heads} do not divide --width {width}")
        kind = options.model or "gpt2"
        if kind == "llama" and width // heads % 2:
            raise RecipeError(f"a llama's heads need an even width, not {width // heads}")
        return None, {"kind": kind, **sizes}
    start = find_checkpoint(options.start)
    try:
        config = json.loads((start / "config.json").read_bytes())
        kind, size = config["model_type"], int(config["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError("has no config.json of a language model", where=str(start)) from error
    vocabulary = manifest["tokenizer"]["vocabulary"]
    if options.model not in (None, kind):
        raise RecipeError(f"--model {options.model} and a {kind} in --from", where=str(start))
    if size > vocabulary:
        raise RecipeError(
            f"its vocabulary has {size:,} ids, that of the shards {vocabulary:,}",
            where=str(start),
        )
    positions = config.get("n_positions")  # learnt ones, which cannot be added
    if positions is not None and positions < manifest["sequence_length"]:
        raise RecipeError(
            f"has {positions} positions and the shards' rows {manifest['sequence_length']} tokens",
            where=str(start),
            fix="build both outputs with one sequence_length, or train a llama",
        )
    _same_tokenizer(start, manifest["tokenizer"])
    return start, {"kind": kind, "from": sha256_file(start / "model.safetensors")}


def _same_tokenizer(start: Path, tokenizer: dict[str, Any]) -> None:
    """Ids have to mean what they meant; a model that is not ours says nothing of that."""
    settings = start.parent.parent / SETTINGS
    if not settings.is_file():
        return
    before = json.loads(settings.read_bytes())["tokenizer"]
    added = tokenizer["added"][: len(before["added"])]
    if (before["name"], before["added"]) != (tokenizer["name"], added):
        raise RecipeError(
            f"was trained on ids of {before['name']} and the shards have those of "
            f"{tokenizer['name']}" + (f" and {added}" if added else ""),
            where=str(start),
        )


def find_checkpoint(path: Path) -> Path:
    """A folder of safetensors, or the last checkpoint of a run's folder."""
    found = [path] if (path / "config.json").is_file() else checkpoints(path)
    if not found or not (found[-1] / "model.safetensors").is_file():
        raise RecipeError(
            "holds no checkpoint", where=str(path), fix="give a run's folder, such as OUT/train/..."
        )
    return found[-1]
