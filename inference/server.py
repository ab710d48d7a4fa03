"""Servers of ours: started, awaited, stopped, never left behind."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from data.errors import EngineError
from data.parts import output_error

CPU_FLAGS = ("--dtype", "bfloat16", "--enforce-eager", "--max-num-seqs", "64")
"""Eager: compiling costs more than it brings in a short build."""
CPU_SAFE = ("--no-enable-chunked-prefill",)
"""A seeded request whose prefill is split kills vLLM's engine on a CPU."""
CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Loopback is not asked through a proxy."""
KILLED_WITHIN = 5.0
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class Server:
    """A server process on loopback, used as a context: it answers `health` inside.

    `start` and `wait` do the two halves of entering, for work in between.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        health: str,
        log: Path,
        *,
        patience: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`patience`: seconds until an unready server is given up."""
        self.name = name
        self._command, self._health, self._log = list(command), health, log
        self._patience = patience
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._stopped, self._stopping = threading.Event(), threading.Lock()

    def __enter__(self) -> "Server":
        self.start()
        self.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Raises OutputError where the log cannot be written."""
        guard = Path(__file__).with_name("guard.py")
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            log = self._log.open("wb")
        except OSError as error:
            raise output_error(self._log, error) from error
        self._line, theirs = socket.socketpair()
        with log, theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(guard), *self._command],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )

    def wait(self) -> None:
        """Until the server is healthy. Raises EngineError, the server stopped, where it ends
        before or takes longer than its patience."""
        try:
            self._await_health()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Let the guard take the whole process group down, and wait until it has; `wait` in
        another thread ends too. Where the guard was killed, its group is killed here."""
        self._stopped.set()
        with self._stopping:
            if self._process is None or self._line is None:
                return
            self._line.shutdown(socket.SHUT_WR)
            if self._process.wait() < 0:
                _kill_group(self._line.recv(64))
            self._line.close()
            self._line = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or where it was never started."""
        return self._process.poll() if self._process else None

    def last_lines(self, count: int = 12) -> str:
        try:
            with open(self._log, errors="replace") as handle:
                return "".join(deque(handle, maxlen=count)).rstrip()
        except OSError:
            return ""

    def _await_health(self) -> None:
        started = time.monotonic()
        while time.monotonic() - started < self._patience:
            if self.exit_code is not None:
                raise EngineError(
                    f"{self.name} ended with code {self.exit_code} before it was ready",
                    where=str(self._log),
                    fix=f"its last lines:\n{self.last_lines()}",
                )
            try:
                with DIRECT.open(self._health, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, http.client.HTTPException, OSError):
                pass  # not listening yet
            if self._stopped.wait(0.1):
                raise EngineError(f"{self.name} was stopped before it was ready")
        raise EngineError(
            f"{self.name} was not ready within {self._patience:.0f} s",
            where=str(self._log),
            fix=f"its last lines:\n{self.last_lines()}",
        )


def _kill_group(said: bytes) -> None:
    """`said` is what the guard wrote before it was killed: its group's number, if it got so far.
    Waits a while for the group to be gone, so that its port and memory are free."""
    if not said:
        return
    until = time.monotonic() + KILLED_WITHIN
    try:
        os.killpg(int(said), signal.SIGKILL)
        while time.monotonic() < until:
            os.killpg(int(said), 0)
            time.sleep(0.05)
    except ProcessLookupError:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refuse_taken(port: int) -> None:
    """Raises EngineError where something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EngineError(
                f"port {port} is taken",
                fix="free it, or leave engine.launch.port out and a free one is found",
            ) from error


def vllm_server(
    python: Path,
    path: str,
    name: str,
    port: int,
    log: Path,
    *,
    gpus: Sequence[int | str],
    max_model_len: int,
    patience: float,
    deterministic: bool = False,
    extra: Sequence[str] = (),
) -> Server:
    """vLLM's OpenAI-compatible server for the model at `path` (a folder or a hub id), on the
    given GPUs, on the CPU without any. `deterministic` asks for batch-invariant kernels."""
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", path, "--served-model-name", name]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", str(max_model_len)]
    environment = dict(QUIET)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        if len(gpus) > 1:
            command += ["--tensor-parallel-size", str(len(gpus))]
        if deterministic:
            environment["VLLM_BATCH_INVARIANT"] = "1"
    else:
        command += [*CPU_FLAGS, *CPU_SAFE]
        environment |= {key: os.environ.get(key, value) for key, value in CPU_ENVIRONMENT.items()}
    if Path(path).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    return Server(
        "the vLLM server",
        [*command, *extra],
        f"http://127.0.0.1:{port}/health",
        log,
        patience=patience,
        environment=environment,
    )
