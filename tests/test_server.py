"""Servers of ours: awaited, stopped, and gone when we are gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data import ROOT
from data.errors import EngineError
from inference.server import Server, free_port, refuse_taken

SERVE = """
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[2], "w").write(f"{os.getpid()} {child.pid}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(tmp_path: Path, script: str = SERVE, patience: float = 20) -> Server:
    port = free_port()
    command = [sys.executable, "-c", script, str(port), str(tmp_path / "pids")]
    health = f"http://127.0.0.1:{port}/health"
    return Server("the test server", command, health, tmp_path / "log", patience=patience)


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists() and not zombie(pid)]
        if not alive:
            return True
        time.sleep(0.05)
    return False


def zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def pids(tmp_path: Path) -> list[int]:
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def test_a_server_answers_inside_and_leaves_no_process_behind(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        assert running.exit_code is None
        started = pids(tmp_path)
        assert not gone_now(started)
    assert gone(started)


def gone_now(started: list[int]) -> bool:
    return any(not Path(f"/proc/{pid}").exists() for pid in started)


def test_a_server_dies_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from tests.test_server import server\n"
        "with server(Path(sys.argv[1])):\n    print('up', flush=True)\n    time.sleep(600)\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ours.stdout
    with ours.stdout:
        assert ours.stdout.readline() == b"up\n"
        started = pids(tmp_path)
        ours.send_signal(signal.SIGKILL)
        ours.wait()
    assert gone(started)


def test_a_server_that_ignores_being_asked_to_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
    with server(tmp_path, deaf):
        started = pids(tmp_path)
    assert gone(started)


def test_a_server_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"(?s)ended with code 3 .*no such model: x"),
        server(tmp_path, "import sys; print('no such model: x'); sys.exit(3)"),
    ):
        pass


def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    slow = "import time; print('loading', flush=True); time.sleep(600)"
    with (
        pytest.raises(EngineError, match=r"(?s)not ready within 1 s.*loading"),
        server(tmp_path, slow, patience=1),
    ):
        pass


def test_stopping_a_server_ends_the_wait_for_it(tmp_path: Path) -> None:
    starting = server(tmp_path, "import time; time.sleep(600)", patience=25)
    starting.start()
    with ThreadPoolExecutor() as threads:
        wait, began = threads.submit(starting.wait), time.monotonic()
        starting.stop()
        with pytest.raises(EngineError, match="the test server"):
            wait.result(30)
    assert time.monotonic() - began < 20
    assert not starting.running


def test_a_server_is_stopped_even_when_its_guard_was_killed(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        started = pids(tmp_path)
        stat = Path(f"/proc/{started[0]}/stat").read_text()
        guard = int(stat.rpartition(") ")[2].split()[1])
        os.kill(guard, signal.SIGKILL)
        assert gone([guard])
        assert not running.running
        assert not gone_now(started)
    assert gone(started)


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken"):
            refuse_taken(port)
    refuse_taken(port)
