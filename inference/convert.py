"""Turn a packaged GGUF model into a folder that vLLM loads.

Runs in the engine's environment, as a script, so it imports nothing of ours:
    python convert.py PACKAGE FILE.gguf TARGET
vLLM's CPU build does not run GGUF; the weights are dequantized to bfloat16 once.
"""

import importlib.metadata
import importlib.util
import json
import shutil
import sys
from pathlib import Path


def convert(package: str, file: str, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {package} is not installed in {sys.prefix}")
    folder = Path(found.submodule_search_locations[0])
    if not (folder / file).is_file():
        raise SystemExit(f"{folder / file} is missing")
    partial = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=file,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    config = json.loads((partial / "config.json").read_text())
    config.pop("quantization_config", None)
    (partial / "config.json").write_text(json.dumps(config, indent=2))
    version = importlib.metadata.version(package.replace("_", "-"))
    origin = {"package": package, "version": version, "file": file, "dtype": "bfloat16"}
    (partial / "shardmill.json").write_text(json.dumps(origin))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
