"""Parts made on a Ray cluster through prefect-ray: each is a Prefect task on one CPU of a node.

The work of a stage is pickled once and unpickled once a worker. What it reads and writes lies
in OUT, which every node has to see; nothing but indices and errors travels. Ray makes the part
of a node that died again on another one.
"""

import hashlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import ray
from prefect.context import serialize_context
from prefect.futures import PrefectFuture
from prefect.settings import get_current_settings
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner
from ray.exceptions import RayError

from data import ROOT
from data.errors import EngineError, OutputError, ShardmillError
from data.parts import write_file
from flows.ray_address import find_cluster
from flows.stages import Counted, Runner, Work

RETRIES = 5
"""How often a part is made again whose node or process died."""
WIDE = 4
"""CPUs of a stage's only part, such as packing, where a node has as many."""
PATIENCE = 10.0
"""Seconds for parts to stop that are cancelled."""
PACKAGES = ("data", "filters", "flows", "inference", "prompts")
_held: dict[str, Work] = {}


@contextmanager
def cluster(
    address: str | None, out: Path, task: Any, say: Callable[[str], None]
) -> Iterator[Runner]:
    """A runner whose parts are `task`s on the cluster at `address` (HOST:PORT, ray://HOST:PORT).
    Raises EngineError where it does not answer."""
    found = find_cluster(address)
    terminated = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        runner = LeanRunner(found, quiet).__enter__()
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise EngineError(
            f"the Ray cluster cannot be used ({str(error).partition(chr(10))[0]})", where=found
        ) from error
    try:
        if terminated is not None and signal.getsignal(signal.SIGTERM) is not terminated:
            signal.signal(signal.SIGTERM, terminated)  # Ray takes it where it starts a cluster
        yield _Parts(runner, out, task, say)
    finally:
        runner.__exit__(None, None, None)


class LeanRunner(RayTaskRunner):  # type: ignore[misc]
    """prefect-ray's runner without what it does again for each task.

    It serializes all of Prefect's settings for every task (0.1 s of CPU in the flow, 0.3 s in
    the worker) and exports its function anew, which Ray takes for another kind of work each
    time. Here both are sent once; a worker has its settings from its environment.
    """

    _context: Any = None
    options: dict[str, Any]

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: Any = None,
    ) -> Any:
        if self._context is None:
            context = serialize_context() | {"settings_context": {}}
            self._context = ray.put(context)
            self._run = ray.remote(RayTaskRunner._run_prefect_task)
        task_run_id = uuid4()
        reference = self._run.options(name=task.name, **self.options).remote(
            task=task,
            task_run_id=task_run_id,
            parameters=parameters,
            wait_for=wait_for,
            dependencies=dependencies,
            context=self._context,
        )
        return PrefectRayFuture(task_run_id=task_run_id, wrapped_future=reference)


class _Parts:
    """The runner that stages are given."""

    def __init__(
        self, runner: LeanRunner, out: Path, task: Any, say: Callable[[str], None]
    ) -> None:
        self._runner, self._task, self._said = runner, task, False
        token = out / "logs" / "cluster"
        write_file(token, uuid4().hex.encode())
        self._site = Site(str(Path.cwd()), str(token), token.read_text(), source_hash())
        self._say = say

    def __call__(self, name: str, work: Work, indices: Sequence[int]) -> None:
        """Keeps two parts a CPU in flight. After an error no more are begun; of those that failed
        the first in order is raised."""
        if not indices:
            return
        made: Callable[[], None] | None = None
        if isinstance(work, Counted):
            made = work.made
            work = work.work
        sent = Sent(work, self._site)
        slots = self._options(only=len(indices) == 1)
        waiting: dict[int, Any] = {}
        done: SimpleQueue[int] = SimpleQueue()  # Ctrl-C in Ray's own waiting is lost
        left = list(reversed(indices))
        errors: dict[int, ShardmillError] = {}
        try:
            while waiting or (left and not errors):
                while left and not errors and len(waiting) < 2 * slots:
                    index = left.pop()
                    parameters = {"stage": name, "index": index, "work": sent}
                    waiting[index] = self._runner.submit(self._task, parameters)
                    waiting[index].add_done_callback(partial(_note, done, index))
                index = done.get()
                error = _result(name, index, waiting.pop(index))
                if error is not None:
                    errors[index] = error
                elif made:
                    made()
        except BaseException:
            for future in waiting.values():
                ray.cancel(future.wrapped_future)
            with suppress(Empty):
                for _ in waiting:
                    done.get(timeout=PATIENCE)
            raise
        if errors:
            raise errors[min(errors)]

    def _options(self, *, only: bool) -> int:
        """What a task of the stage asks of Ray; gives how many run at once."""
        alive = [node for node in ray.nodes() if node["Alive"]]
        cpus = [int(node["Resources"].get("CPU", 0)) for node in alive]
        if not self._said:
            self._said = True
            self._say(f"Ray: {len(alive)} nodes, {sum(cpus)} CPUs")
            if _on_loopback() and len({node["NodeManagerAddress"] for node in alive}) > 1:
                self._say(
                    "parts on other nodes are made but not shown in Prefect: its server is on "
                    "loopback; set PREFECT_API_URL to an address that the nodes reach"
                )
        threads = min(WIDE, max(cpus, default=1)) if only else 1
        self._runner.options = {
            "num_cpus": max(1, threads),
            "max_retries": RETRIES,
            "runtime_env": {"env_vars": _environment(max(1, threads))},
        }
        return max(1, sum(cpus))


def _note(done: "SimpleQueue[int]", index: int, future: Any) -> None:
    done.put(index)


def _result(name: str, index: int, future: Any) -> ShardmillError | None:
    """None for a part that was made."""
    try:
        error: ShardmillError | None = future.result()
    except RayError as lost:
        last = str(lost).strip().splitlines()[-1]
        return ShardmillError(
            f"part {index} could not be made on the cluster ({type(lost).__name__}: {last[:300]})",
            where=name,
            fix="each node needs this shardmill and enough memory; the same command resumes",
        )
    return error


def _on_loopback() -> bool:
    host = urlsplit(get_current_settings().api.url or "").hostname or ""
    return host == "localhost" or host.startswith("127.")


def _environment(threads: int) -> dict[str, str]:
    """For a worker: as many threads as it has CPUs, and where it reports to. No keys: Ray shows
    these."""
    settings = get_current_settings()
    names = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS")
    return {
        **dict.fromkeys(names, str(threads)),
        **({"PREFECT_API_URL": settings.api.url} if settings.api.url else {}),
        "PREFECT_LOGGING_LEVEL": settings.logging.level,
        "DO_NOT_TRACK": "1",
    }


class Site:
    """What has to be the same on each node."""

    def __init__(self, folder: str, token: str, content: str, source: str) -> None:
        self.folder, self.token, self.content, self.source = folder, token, content, source

    def check(self) -> None:
        """Relative paths are as the flow's process has them. Raises ShardmillError where the node
        has another shardmill, OutputError where it does not see OUT."""
        node = socket.gethostname()
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        if source_hash() != self.source:
            raise ShardmillError(
                "has another shardmill than the machine that runs the build",
                where=f"node {node}",
                fix="install the same on each node",
            )
        token = Path(self.token)
        if not token.is_file() or token.read_text() != self.content:
            raise OutputError(
                "is not the same folder as on the machine that runs the build",
                where=f"{token.parent.parent} on node {node}",
                fix="put OUT on a file system that all nodes share, under one path",
            )


class Sent:
    """A stage's work as workers get it: one object of the cluster, kept until the next comes."""

    def __init__(self, work: Work, site: Site) -> None:
        self._key, self._site = uuid4().hex, site
        self._reference = ray.put(work)

    def __call__(self, index: int) -> None:
        if self._key not in _held:
            self._site.check()
            _held.clear()
            _held[self._key] = ray.get(self._reference)
        _held[self._key](index)


@cache
def source_hash() -> str:
    """Of the modules that make parts: nodes that differ would write parts that differ."""
    files = sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py"))
    sources = (f"{file.relative_to(ROOT)}\0{file.read_text('utf-8')}" for file in files)
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()
