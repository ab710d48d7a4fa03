"""The generation stage with real vLLM against vLLM's own LLM.chat, same prompts and seeds."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from flows.build import run_stages
from flows.exchange import Exchange
from flows.plan import Plan, plan_build
from flows.progress import Progress
from flows.prompting import render_prompts
from flows.seeds import read_seeds
from inference.models import engine_python, prepare

CHANGES = ["engine.sampling.max_tokens=96", "curate=[]"]
SCALE = 1.5
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "4",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


class Clock(Progress):
    """Notes when the first request may go out and when the last completion is there."""

    began = ended = 0.0

    def __init__(self) -> None:
        super().__init__(log=print)

    def start(self, *arguments: object) -> None:
        super().start(*arguments)  # type: ignore[arg-type]
        Clock.began = time.monotonic()

    def stop(self) -> None:
        Clock.ended = Clock.ended or time.monotonic()


def bodies(plan: Plan) -> list[dict[str, object]]:
    found = []
    for source in plan.generated:
        read_seeds(source)
        render_prompts(source, plan.recipe.seed, plan.recipe.part_rows)
        for part in range(source.prompts.count()):
            for prompt in source.prompts.read(part).to_pylist():
                found.append(Exchange(source, plan.model, prompt).ask()[1])
    return found


def compare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_build("demo", Path(folder) / "out", CHANGES, SCALE)
        prepare(plan.model, engine_python())
        asked = bodies(plan)
        run_stages(plan, Clock())
        seconds = Clock.ended - Clock.began
        tokens = sum(
            (source.completions.manifest or {})["account"]["completion_tokens"]
            for source in plan.generated
        )
        ours = tokens / seconds
        print(f"generation stage: {tokens} tokens in {seconds:.1f} s, {ours:.0f} tokens/s")
        file = Path(folder) / "bodies.json"
        file.write_text(json.dumps(asked))
        script = Path(__file__).with_name("offline_chat.py")
        result = Path(folder) / "result.json"
        subprocess.run(
            [str(engine_python()), str(script), plan.model.path, str(file), str(result)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            env={**os.environ, **ENVIRONMENT},
        )
        offline = json.loads(result.read_bytes())
        theirs = offline["tokens"] / offline["seconds"]
        print(
            f"LLM.chat: {offline['tokens']} tokens in {offline['seconds']:.1f} s, "
            f"{theirs:.0f} tokens/s"
        )
        print(f"ratio: {ours / theirs:.3f} (wanted: at least 0.95)")
