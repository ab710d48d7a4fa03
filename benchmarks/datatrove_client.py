"""datatrove's InferenceRunner against an endpoint; runs in an environment with datatrove alone.

python datatrove_client.py URL FOLDER COUNT [checkpoints]      prints its figures as JSON
"""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter


def documents(count: int) -> Iterator[Document]:
    for number in range(count):
        text = f"Write a section of a textbook on subject {number}. " + "Explain each point. " * 10
        yield Document(text=text, id=str(number))


async def rollout(document: Document, generate: Any) -> str:
    messages = [{"role": "user", "content": document.text}]
    result = await generate({"messages": messages, "seed": int(document.id), "max_tokens": 800})
    return str(result.text)


def main() -> None:
    url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {0})
    runner = InferenceRunner(
        rollout_fn=rollout,
        config=InferenceConfig(
            server_type="endpoint",
            endpoint_url=url.removesuffix("/v1"),
            model_name_or_path="fake",
            max_concurrent_generations=256,
        ),
        output_writer=JsonlWriter(
            str(folder / "out"),
            output_filename="${rank}_chunk_${chunk_index}.jsonl",
            compression=None,
        ),
        checkpoints_local_dir=str(folder / "checkpoints"),
        records_per_chunk=500,
    )
    cpu, began = time.process_time(), time.monotonic()
    runner.run(documents(count), rank=0, world_size=1)
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    figures = {
        "requests_per_second": round(count / seconds, 1),
        "cpu_ms": round(used / count * 1000, 3),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "seconds": round(seconds, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
