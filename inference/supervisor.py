"""Servers of one build: one a GPU (or one on the CPU), watched, restarted, all stopped."""

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import EngineError, ShardmillError
from inference.client import Client
from inference.endpoint import Endpoint
from inference.models import Model
from inference.server import Server, free_port, refuse_taken, vllm_server

LOOK = 1.0
HUNG_AFTER = 60.0
"""Seconds without an answer of /v1/models after which a running server is taken for hung."""


@dataclass(frozen=True)
class Launch:
    """How servers are started; `gpus` as CUDA_VISIBLE_DEVICES names them, empty for the CPU."""

    python: Path
    gpus: tuple[int | str, ...] = ()
    tensor_parallel: int = 1
    port: int | None = None
    max_model_len: int = 2048
    patience: float = 600.0
    max_restarts: int = 3
    deterministic: bool = False
    args: tuple[str, ...] = ()

    @property
    def groups(self) -> list[tuple[int | str, ...]]:
        """The GPUs of each server; one empty group for the CPU."""
        if not self.gpus:
            return [()]
        size = self.tensor_parallel
        return [self.gpus[i : i + size] for i in range(0, len(self.gpus) - size + 1, size)]


def visible_gpus() -> tuple[int | str, ...]:
    """The GPUs of this machine; those that CUDA_VISIBLE_DEVICES names, where it is set, by number
    or by UUID, up to the first that is none, as CUDA reads it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    found = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in found.stdout.splitlines())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None or not count:
        return tuple(range(count))
    names = [name.strip() for name in chosen.split(",")]
    return tuple(itertools.takewhile(lambda name: name not in ("", "-1"), names))


class Fleet:
    """A context: inside, every server is healthy, and is kept so.

    `servers` are made by `make`, so that a test can watch something lighter than vLLM.
    """

    def __init__(
        self,
        make: Sequence[Callable[[], Server]],
        urls: Sequence[str],
        *,
        ceiling: int,
        max_restarts: int,
        say: Callable[[str], None],
        gpus: int = 0,
    ) -> None:
        self.gpus = gpus
        self._make, self._say, self._max_restarts = list(make), say, max_restarts
        self.endpoints = [Endpoint(url, ceiling) for url in urls]
        self._servers: list[Server] = []
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Fleet":
        try:
            self._servers = [make() for make in self._make]
            for server in self._servers:
                server.start()
            await asyncio.gather(*(asyncio.to_thread(server.wait) for server in self._servers))
        except BaseException:
            await self._stop_all()
            raise
        return self

    def watch(self, client: Client) -> None:
        """Begin to restart what dies or hangs."""
        self._keepers = [
            asyncio.create_task(self._keep(number, client)) for number in range(len(self._servers))
        ]

    async def __aexit__(self, *error: object) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await self._stop_all()

    async def _stop_all(self) -> None:
        stops = [asyncio.to_thread(server.stop) for server in self._servers]
        await asyncio.shield(asyncio.gather(*stops))

    async def _keep(self, number: int, client: Client) -> None:
        endpoint, restarts = self.endpoints[number], 0
        answered = time.monotonic()
        while True:
            await asyncio.sleep(LOOK)
            server = self._servers[number]
            dead = not server.running
            if not dead and endpoint.up and not endpoint.failures:
                answered = time.monotonic()
                continue
            if not dead:
                with contextlib.suppress(ValueError):
                    await client.served(endpoint.url)
                    answered = time.monotonic()
                if time.monotonic() - answered < HUNG_AFTER:
                    continue
            endpoint.set_aside()
            what = f"ended with code {server.exit_code}" if dead else "hangs"
            if restarts >= self._max_restarts:
                self._say(f"{server.name} {number} {what}; given up after {restarts} restarts")
                endpoint.gone = True
                return
            restarts += 1
            self._say(f"{server.name} {number} {what}; restart {restarts}/{self._max_restarts}")
            await self._restart(number)
            answered = time.monotonic()

    async def _restart(self, number: int) -> None:
        await asyncio.to_thread(self._servers[number].stop)
        server = self._servers[number] = self._make[number]()
        try:
            server.start()
            await asyncio.to_thread(server.wait)
        except ShardmillError as error:
            self._say(str(error).partition("\n")[0])
            return
        self._say(f"{server.name} {number} is back")


def vllm_fleet(
    launch: Launch, model: Model, logs: Path, *, ceiling: int, say: Callable[[str], None]
) -> Fleet:
    """vLLM's servers for a launch. Raises EngineError for a taken port or too few GPUs."""
    groups = launch.groups
    if not groups:
        raise EngineError(
            f"tensor_parallel {launch.tensor_parallel} needs more than {len(launch.gpus)} GPUs",
            fix="lower engine.launch.tensor_parallel or name more GPUs",
        )
    ports = [launch.port + n if launch.port else free_port() for n in range(len(groups))]
    for port in ports:
        refuse_taken(port)

    def maker(number: int) -> Callable[[], Server]:
        restarted = iter(range(1_000_000))
        return lambda: vllm_server(
            launch.python,
            model.path,
            model.name,
            ports[number],
            logs / f"vllm-{number}{_suffix(next(restarted))}.log",
            gpus=groups[number],
            max_model_len=launch.max_model_len,
            patience=launch.patience,
            deterministic=launch.deterministic,
            extra=launch.args,
        )

    for number, port in enumerate(ports):
        where = f"GPU {','.join(map(str, groups[number]))}" if groups[number] else "the CPU"
        say(f"starting vLLM on {where}, port {port}, log in {logs / f'vllm-{number}.log'}")
    urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
    return Fleet(
        [maker(number) for number in range(len(groups))],
        urls,
        ceiling=ceiling,
        max_restarts=launch.max_restarts,
        say=say,
        gpus=sum(map(len, groups)),
    )


def _suffix(restart: int) -> str:
    return f".restart-{restart}" if restart else ""
