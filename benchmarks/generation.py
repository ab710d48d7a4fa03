"""Generation: overhead of the pool and its record, what a kill costs, and vLLM's own speed.

    python benchmarks/generation.py overhead     client and fake server on a core each
    python benchmarks/generation.py peers        beside datatrove and a bare aiohttp loop
    python benchmarks/generation.py engine       real vLLM: our stage against LLM.chat

Prints figures and the ratios to hold; DECISIONS.md keeps what was measured.
"""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
IN_FLIGHT = 256


@contextmanager
def engine(cpu: int, faults: float = 0.0, log: Path | None = None) -> Iterator[str]:
    from inference.server import Server, free_port

    port = free_port()
    command = [sys.executable, str(ROOT / "benchmarks" / "fake_engine.py"), str(port), str(cpu)]
    command += [str(faults), *([str(log)] if log else [])]
    health = f"http://127.0.0.1:{port}/health"
    with Server("the fake engine", command, health, Path(tempfile.mkstemp()[1]), patience=30):
        yield f"http://127.0.0.1:{port}/v1"


def client(url: str, folder: Path, count: int) -> dict[str, Any]:
    """The pool alone in a process of its own, pinned to core 0; its figures."""
    command = [sys.executable, __file__, "client", url, str(folder), str(count)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
    return found


def run_client(url: str, folder: Path, count: int) -> None:
    from data.schema import fingerprint
    from inference.account import Account, Price
    from inference.client import Client, Request
    from inference.endpoint import Endpoint
    from inference.pool import Pool
    from inference.record import Completion, Record

    os.sched_setaffinity(0, {0})
    first_at = 0.0
    done = 0

    def arrived(request: Request, completion: Completion) -> list[Request]:
        nonlocal done
        done += 1
        return []

    async def run() -> tuple[float, int]:
        with Record(folder) as record:
            reused = 0

            def requests() -> Iterator[Request]:
                nonlocal first_at, reused
                for start in range(0, count, 1000):
                    bodies = [body(n) for n in range(start, min(count, start + 1000))]
                    keys = [fingerprint(one, 32) for one in bodies]
                    for key, one, old in zip(keys, bodies, record.find(keys), strict=True):
                        if old:
                            reused += 1
                            continue
                        first_at = first_at or time.monotonic()
                        yield Request(key, one, "bench")

            async with Client("fake", timeout=60) as http:
                began = time.monotonic()
                endpoint = Endpoint(url, IN_FLIGHT, limit=64)
                pool = Pool([endpoint], http, record, Account(folder, Price()))
                await pool.run(requests(), arrived)
                return began, reused

    cpu = time.process_time()
    began, reused = asyncio.run(run())
    seconds = time.monotonic() - began
    used = time.process_time() - cpu
    print(
        json.dumps(
            {
                "requests_per_second": round(done / seconds, 1),
                "cpu_ms": round(used / max(1, done) * 1000, 3),
                "first_request_s": round(first_at - began, 3),
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "done": done,
                "reused": reused,
                "seconds": round(seconds, 2),
            }
        )
    )


def body(number: int) -> dict[str, Any]:
    text = f"Write a section of a textbook on subject {number}. " + "Explain each point. " * 10
    return {"messages": [{"role": "user", "content": text}], "seed": number, "max_tokens": 800}


def overhead() -> None:
    with tempfile.TemporaryDirectory() as folder, engine(1) as url:
        limit = IN_FLIGHT / 0.2
        small = client(url, Path(folder) / "small", 10_000)
        print("10,000 requests:", small)
        print(f"  of the limit {limit:.0f}/s: {small['requests_per_second'] / limit:.3f}")
        large = client(url, Path(folder) / "large", 100_000)
        print("100,000 requests:", large)
        print(f"  memory, 100,000 / 10,000: {large['rss_mb'] / small['rss_mb']:.3f}")
    with tempfile.TemporaryDirectory() as folder, engine(1, 0.08) as url:
        faulty = client(url, Path(folder), 10_000)
        print("with 8 % faults:", faulty)
        print(f"  time / clean time: {faulty['seconds'] / small['seconds']:.2f}")
    killed()


def killed() -> None:
    """SIGKILL at half of 4,000 requests, then the same again."""
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "record", Path(name) / "log"
        with engine(1, log=log) as url:
            command = [sys.executable, __file__, "client", url, str(folder), "4000"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
            while not log.exists() or len(log.read_text().splitlines()) < 2000:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            answered = len(log.read_text().splitlines())
            again = client(url, folder, 4000)
            lines = log.read_text().splitlines()
            print(
                f"killed after {answered} answers: {again['reused']} reused, "
                f"{len(lines) - len(set(lines))} asked again, "
                f"{4000 - again['reused'] - again['done']} lost"
            )


def main() -> None:
    sys.path.insert(0, str(ROOT))
    what = sys.argv[1] if len(sys.argv) > 1 else "overhead"
    if what == "client":
        run_client(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    elif what == "overhead":
        overhead()
    elif what == "killed":
        killed()
    elif what == "peers":
        from benchmarks.inference_peers import compare as compare_peers

        compare_peers()
    elif what == "engine":
        from benchmarks.engine import compare

        compare()
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
