"""The supervisor: servers that die or hang come back, within bounds, and none is left."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from data import ROOT
from inference.client import Client
from inference.endpoint import Endpoint
from inference.models import Model
from inference.server import Server, free_port
from inference.supervisor import Fleet, Launch, visible_gpus, vllm_fleet

SERVE = """
import os, sys, threading
from tests.fake_server import FakeServer
open(sys.argv[2], "a").write(f"{os.getpid()}\\n")
with FakeServer(port=int(sys.argv[1])):
    threading.Event().wait()
"""


def fleet(tmp_path: Path, ports: list[int], lines: list[str], max_restarts: int) -> Fleet:
    def make(port: int) -> Server:
        return Server(
            "the server",
            [sys.executable, "-c", SERVE, str(port), str(tmp_path / str(port))],
            f"http://127.0.0.1:{port}/v1/models",
            tmp_path / f"{port}.log",
            patience=20,
            environment={"PYTHONPATH": str(ROOT)},
        )

    return Fleet(
        [lambda port=port: make(port) for port in ports],  # type: ignore[misc]
        [f"http://127.0.0.1:{port}/v1" for port in ports],
        ceiling=8,
        max_restarts=max_restarts,
        say=lines.append,
    )


def started(tmp_path: Path, port: int) -> list[int]:
    return [int(line) for line in (tmp_path / str(port)).read_text().split()]


async def until(condition: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_a_killed_server_is_restarted_and_at_last_given_up(tmp_path: Path) -> None:
    ports, lines = [free_port(), free_port()], list[str]()

    async def run() -> list[int]:
        async with Client("fake", timeout=5) as client, fleet(tmp_path, ports, lines, 1) as servers:
            servers.watch(client)
            os.kill(started(tmp_path, ports[0])[0], signal.SIGKILL)
            await until(lambda: len(started(tmp_path, ports[0])) == 2)
            await until(lambda: any("is back" in line for line in lines))
            assert await client.served(servers.endpoints[0].url) == ["fake"]
            os.kill(started(tmp_path, ports[0])[1], signal.SIGKILL)
            await until(lambda: servers.endpoints[0].gone)
            assert not servers.endpoints[1].gone
            return started(tmp_path, ports[0]) + started(tmp_path, ports[1])

    processes = asyncio.run(run())
    assert any("given up after 1 restarts" in line for line in lines)
    assert len(processes) == 3
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def test_a_hung_server_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.supervisor.HUNG_AFTER", 1.5)
    ports, lines = [free_port()], list[str]()

    async def run() -> None:
        async with Client("fake", timeout=5) as client, fleet(tmp_path, ports, lines, 2) as servers:
            servers.watch(client)
            monkeypatch.setattr(client, "served", impatient(client.served))
            os.kill(started(tmp_path, ports[0])[0], signal.SIGSTOP)
            servers.endpoints[0].failed()
            await until(lambda: any("hangs; restart 1/2" in line for line in lines))
            await until(lambda: any("is back" in line for line in lines))

    asyncio.run(run())
    assert len(started(tmp_path, ports[0])) == 2


def test_a_restart_that_fails_is_not_taken_for_a_hang(tmp_path: Path) -> None:
    port, lines, scripts = free_port(), list[str](), iter([SERVE])

    def make() -> Server:
        script = next(scripts, "raise SystemExit(3)")
        return Server(
            "the server",
            [sys.executable, "-c", script, str(port), str(tmp_path / str(port))],
            f"http://127.0.0.1:{port}/v1/models",
            tmp_path / "log",
            patience=30,
            environment={"PYTHONPATH": str(ROOT)},
        )

    async def run() -> None:
        url = f"http://127.0.0.1:{port}/v1"
        servers = Fleet([make], [url], ceiling=8, max_restarts=2, say=lines.append)
        async with Client("fake", timeout=5) as client, servers:
            servers.watch(client)
            os.kill(started(tmp_path, port)[0], signal.SIGKILL)
            await until(lambda: servers.endpoints[0].gone, 40)

    asyncio.run(run())
    assert any("ended with code 3; given up after 2 restarts" in line for line in lines)
    assert not any("hangs" in line for line in lines)


def impatient(served: object) -> object:
    async def quick(url: str) -> list[str]:
        try:
            return await asyncio.wait_for(served(url), 0.3)  # type: ignore[operator]
        except TimeoutError as error:
            raise ValueError("no answer") from error

    return quick


@pytest.mark.parametrize(
    ("gpus", "parallel", "groups"),
    [
        ((), 1, [()]),
        ((0, 1), 1, [(0,), (1,)]),
        ((0, 1, 2, 3), 2, [(0, 1), (2, 3)]),
        ((0, 1, 2), 2, [(0, 1)]),
        ((0,), 2, []),
    ],
)
def test_gpus_are_grouped_for_tensor_parallel(
    gpus: tuple[int, ...], parallel: int, groups: list[tuple[int, ...]]
) -> None:
    assert Launch(Path("python"), gpus=gpus, tensor_parallel=parallel).groups == groups


VLLM = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in --port) port=$2 ;; --tensor-parallel-size) size=$2 ;; esac
  shift
done
echo "$CUDA_VISIBLE_DEVICES ${size:-1}" > "$SEEN/$port"
exec "$PYTHON" -c "$SERVE" $port "$SEEN/pids"
"""


@pytest.mark.parametrize(
    ("visible", "parallel", "wanted"),
    [
        (None, 1, ["0 1", "1 1", "2 1", "3 1"]),
        (None, 2, ["0,1 2", "2,3 2"]),
        ("GPU-aa,3,-1,1", 1, ["3 1", "GPU-aa 1"]),
    ],
    ids=["one a GPU", "tensor parallel", "as CUDA_VISIBLE_DEVICES says"],
)
def test_each_server_gets_its_own_gpus(
    visible: str | None,
    parallel: int,
    wanted: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, script in (
        ("nvidia-smi", "#!/bin/sh\nfor n in 0 1 2 3; do echo GPU $n: x; done\n"),
        ("python", VLLM),
    ):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    seen = tmp_path / "seen"
    seen.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, value in {"SEEN": seen, "PYTHON": sys.executable, "SERVE": SERVE}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    launch = Launch(tmp_path / "python", gpus=visible_gpus(), tensor_parallel=parallel, patience=60)

    async def run() -> int:
        model = Model("fake", "fake", "main")
        async with vllm_fleet(launch, model, tmp_path, ceiling=8, say=lambda line: None) as fleet:
            async with Client("fake", timeout=5) as client:
                for endpoint in fleet.endpoints:
                    assert await client.served(endpoint.url) == ["fake"]
            return fleet.gpus

    assert asyncio.run(run()) == len(wanted) * parallel
    written = [path.read_text().strip() for path in seen.iterdir() if path.name != "pids"]
    assert sorted(written) == wanted


def simulate(capacity: int, ceiling: int, push_back: float = 0.0, rounds: int = 400) -> Endpoint:
    """An endpoint that serves `capacity` at once in 0.2 s each, the rest queueing."""
    endpoint, now, ended = Endpoint("x", ceiling), 0.0, 0
    for _ in range(rounds):
        while endpoint.room > 0:
            endpoint.begin(now)
        batch = min(endpoint.in_flight, capacity)
        for _ in range(batch):
            now += 0.2 / batch
            ended += 1
            endpoint.end()
            if push_back and ended % round(1 / push_back) == 0:
                endpoint.pushed_back(now)
            else:
                endpoint.succeeded(100, now)
    return endpoint


def test_the_limit_climbs_while_throughput_climbs_and_then_holds() -> None:
    assert simulate(capacity=1000, ceiling=512).limit == 512
    assert 100 <= simulate(capacity=100, ceiling=100_000).limit < 2000


def test_few_push_backs_are_noise_and_many_slow_down() -> None:
    assert simulate(capacity=1000, ceiling=256, push_back=0.03).limit == 256
    assert simulate(capacity=1000, ceiling=256, push_back=0.5).limit < 16


def test_an_endpoint_that_fails_in_a_row_is_set_aside_and_taken_back_with_half() -> None:
    endpoint = Endpoint("x", 100)
    assert [endpoint.failed() for _ in range(3)] == [False, False, True]
    assert endpoint.room == 0
    endpoint.take_back()
    assert endpoint.room == 32
