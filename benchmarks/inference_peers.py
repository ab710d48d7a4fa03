"""Our pool beside datatrove's InferenceRunner and a bare aiohttp loop: speed, and what a kill
leaves behind. The same fake engine serves all; each client has core 0, the engine core 1."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from benchmarks.generation import IN_FLIGHT, ROOT, body, engine

PEER = ROOT / "runs" / "bench" / "datatrove-inference"
PACKAGES = ["datatrove==0.10.1", "orjson", "aiosqlite", "xxhash", "aiofiles", "httpx"]
COUNT = 4000


def peer_python() -> str:
    """datatrove in an environment of its own: its extra for inference would bring vLLM."""
    python = PEER / "bin" / "python"
    if not python.exists():
        venv.create(PEER, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "-qq", "install", *PACKAGES], check=True)
    return str(python)


def ours(url: str, folder: Path) -> list[str]:
    return [sys.executable, "benchmarks/generation.py", "client", url, str(folder), str(COUNT)]


def datatrove(url: str, folder: Path) -> list[str]:
    return [peer_python(), "benchmarks/datatrove_client.py", url, str(folder), str(COUNT)]


def bare(url: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.inference_peers", url, str(folder), str(COUNT)]


def run(command: list[str]) -> dict[str, Any]:
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
    return found


def compare() -> None:
    for name, command in (("bare aiohttp loop", bare), ("ours", ours), ("datatrove", datatrove)):
        with tempfile.TemporaryDirectory() as folder, engine(1) as url:
            print(f"{name}, {COUNT} requests:", run(command(url, Path(folder))))
    for name, command in (("ours", ours), ("datatrove", datatrove)):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            log.touch()
            with engine(1, log=log) as url:
                out = Path(folder) / "out"
                print(f"{name}, killed at half:", killed(command(url, out), out, log))


def killed(command: list[str], out: Path, log: Path) -> dict[str, int]:
    """SIGKILL when half is answered, then the same command again."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL)
    while len(log.read_bytes().splitlines()) < COUNT // 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(0.5)  # answers that were under way are logged, too
    before = log.read_bytes().splitlines()
    subprocess.run(command, cwd=ROOT, check=True, stdout=DEVNULL, stderr=DEVNULL)
    after = log.read_bytes().splitlines()
    kept = {line for path in out.rglob("*.jsonl") for line in path.read_bytes().splitlines()}
    return {
        "answered before": len(before),
        "asked again": len(after) - len(set(after)),
        "lost": COUNT - sum(b" word0 word1 " in line for line in kept),
    }


async def bare_loop(url: str, count: int, log: int) -> None:
    """As many lines as a client without a pool and an index needs; a group's fsync each 20 ms."""
    import aiohttp
    import orjson

    numbers = iter(range(count))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            async with session.post(
                f"{url}/chat/completions", data=orjson.dumps({**body(number), "model": "fake"})
            ) as answer:
                reply = orjson.loads(await answer.read())
            os.write(log, orjson.dumps(reply["choices"][0]["message"]) + b"\n")

    async def sync() -> None:
        while True:
            await asyncio.sleep(0.02)
            await asyncio.to_thread(os.fsync, log)

    keeper = asyncio.create_task(sync())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(IN_FLIGHT)))
    keeper.cancel()


def main() -> None:
    url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {0})
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    cpu, began = time.process_time(), time.monotonic()
    asyncio.run(bare_loop(url, count, log))
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    figures = {"requests_per_second": count / seconds, "cpu_ms": used / count * 1000}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
