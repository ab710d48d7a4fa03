"""The deployments on a real Prefect server with a real worker, both on loopback."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data import ROOT
from data.leases import lock
from flows.plan import plan_build
from inference.server import Server, free_port
from tests.fake_server import FakeServer

pytestmark = pytest.mark.prefect_server

ENGINE = """#!{python}
import hashlib, json, os, sys, threading
sys.path.insert(0, {root!r})
from tests.fake_server import FakeServer

def note(body, before):
    with open({asked!r}, "a") as file:
        file.write(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() + "\\n")

with open({pids!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
with FakeServer(delay={delay}, fault=note, port=int(sys.argv[sys.argv.index("--port") + 1])):
    threading.Event().wait()
"""
"""Stands in the place of vLLM's Python: slow, and it writes down what it is asked."""
AT_ONCE = 2
STAGES = """
import sys
from flows.stage_flows import curate, generate, pack

changes = ["engine.model=fake", f"engine.endpoints=[{sys.argv[2]}]"]
for flow in (curate, generate, pack, curate, pack):
    state = flow("demo", sys.argv[1], changes, 0.2, return_state=True)
    print(flow.name, state.name, state.message)
"""


@dataclass
class Prefect:
    """The server, and a worker that may be killed and started again."""

    environment: dict[str, str]
    home: Path
    workers: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __call__(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.run("-m", "prefect", "--no-prompt", *words)

    def shardmill(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.run("-m", "flows", *words)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, *words], **self._options, timeout=300, check=False)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-m", "flows", *words], **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return {**both, "cwd": ROOT, "env": self.environment}

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """A GET, or with a body a POST as the UI sends it."""
        request = urllib.request.Request(
            f"{self.environment['PREFECT_API_URL']}/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def set_state(self, run: str, kind: str, name: str, *, force: bool = False) -> None:
        state = {"type": kind, "name": name, "message": "from the UI"}
        set_ = self.api(f"flow_runs/{run}/set_state", {"state": state, "force": force})
        assert set_["status"] == "ACCEPT", set_

    def state(self, run: str) -> str:
        return str(self.api(f"flow_runs/{run}")["state"]["name"])

    def runs(self) -> list[dict[str, Any]]:
        """The newest first."""
        found: list[dict[str, Any]] = self.api(
            "flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC"}
        )
        return found

    def logs(self, run: str) -> list[str]:
        filtered = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return [str(line["message"]) for line in self.api("logs/filter", filtered)]

    def start_worker(self) -> None:
        with open(self.home / "worker.log", "ab") as log:
            words = ["-m", "prefect", "worker", "start", "--pool", "cpu"]
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, *words],
                    env=self.environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def kill_worker(self) -> None:
        """With the runs that it started, as a machine that goes down does."""
        worker = self.workers.pop()
        tasks = Path(f"/proc/{worker.pid}/task").glob("*/children")
        runs = [int(pid) for task in tasks for pid in task.read_text().split()]
        for pid in (worker.pid, *runs):
            os.kill(pid, signal.SIGKILL)
        worker.wait()


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """The guide's commands on a server of their own: pools, deployments and a worker."""
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    ours = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    server = Server(
        "Prefect's server",
        [*command, "--port", str(port)],
        f"{url}/health",
        home / "server.log",
        patience=300,
        environment=ours,
    )
    with server:
        client = Prefect({**os.environ, **ours, "SHARDMILL_VLLM_PYTHON": "/nowhere"}, home)
        guide = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
        commands = re.findall(r"^prefect (.+)$", guide, re.MULTILINE)
        commands = commands[: commands.index("worker start --pool cpu") + 1]
        for line in commands[:-1]:
            done = client(*line.replace("--no-prompt ", "").split())
            assert done.returncode == 0, done.stdout
        client.start_worker()
        try:
            yield client
        finally:
            client.kill_worker()


def until(condition: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@dataclass
class Engine:
    """A recipe's changes that launch the stand-in, and what it was asked over all launches."""

    folder: Path

    @property
    def words(self) -> list[str]:
        launch = f"{{python: {self.folder / 'python'}, gpus: cpu}}"
        changes = ("model=fake", f"concurrency={AT_ONCE}", f"launch={launch}")
        return [word for change in changes for word in ("--set", f"engine.{change}")]

    def write(self, delay: float) -> None:
        values = {"python": sys.executable, "root": str(ROOT), "delay": delay}
        files = {name: str(self.folder / name) for name in ("asked", "pids")}
        script = self.folder / "python"
        script.write_text(ENGINE.format(**values, **files))
        script.chmod(0o755)

    @property
    def asked(self) -> Counter[str]:
        path = self.folder / "asked"
        return Counter(path.read_text().split() if path.exists() else ())

    @property
    def running(self) -> list[str]:
        pids = (self.folder / "pids").read_text().split()
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def twice(self) -> int:
        return sum(count - 1 for count in self.asked.values())


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = Engine(tmp_path)
    engine.write(0.4)
    return engine


def trained(out: Path) -> int:
    rows = pl.scan_ipc(out / "shards" / "pretrain" / "train-*.arrow").collect()
    return int(rows["n_tokens"].sum())


def test_a_deployment_is_followed_to_its_end_and_leaves_shards_and_artifacts(
    prefect: Prefect, fake: FakeServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["run", "--deployment", "build/demo", "--out", str(out), "--scale", "0.3"]
    words += ["--set", "engine.model=fake", "--set", f"engine.endpoints=[{fake.url}]"]
    result = prefect.shardmill(*words)
    assert result.returncode == 0, result.stdout
    asked = fake.requests
    assert asked > 20
    assert trained(out) > 1000
    (run,) = [run for run in prefect.runs() if str(out) in str(run["parameters"])]
    assert re.fullmatch("demo-[0-9a-f]{8}", run["name"])
    assert f"{run['name']}: Completed" in result.stdout
    said = prefect.logs(run["id"])
    for stage in ("prompts.math", "samples.math", "tokens.pretrain", "shards.pretrain"):
        (line,) = [line for line in said if line.startswith(f"{stage}: ")]
        assert re.search(r" parts? in \d+\.\d s$", line)
        assert line in result.stdout
    assert len([line for line in said if line.startswith("Finished in state")]) <= 1
    found = prefect.api("artifacts/filter", {})
    mine = {one["key"]: one for one in found if one["flow_run_id"] == run["id"]}
    # a stage that takes long has one too
    assert {"demo-generate", "demo-funnel", "demo-cost", "demo-summary"} <= set(mine)
    assert mine["demo-generate"]["data"] == 100
    assert json.loads(mine["demo-cost"]["data"])[-1]["requests"] == asked
    assert (out / "funnel.csv").as_uri() in mine["demo-summary"]["data"]
    again = prefect("deployment", "run", "build/demo", "--watch", "--watch-timeout", "200",
                    "--params", json.dumps(run["parameters"]))  # fmt: skip
    assert again.returncode == 0, again.stdout
    assert fake.requests == asked


def test_what_is_wrong_is_one_line_and_an_exit_code(prefect: Prefect) -> None:
    unknown = prefect.shardmill("run", "--deployment", "build/dmo")
    assert unknown.returncode == 2
    assert unknown.stdout.endswith("no deployment 'build/dmo'; did you mean 'build/demo'?\n")
    failed = prefect.shardmill("run", "demmo", "--deployment", "build/demo")
    assert failed.returncode == 1
    assert "no recipe 'demmo'; did you mean 'demo'? or give the path of a file" in failed.stdout
    assert "error: demmo: the flow run ended as Failed (RecipeError: no recipe" in failed.stdout


def test_an_unknown_parameter_is_refused_before_a_run(prefect: Prefect) -> None:
    result = prefect("deployment", "run", "build/demo", "--param", "recipie=demo")
    assert result.returncode == 1
    assert "recipie" in result.stdout
    assert "Traceback" not in result.stdout


def test_a_cancelled_run_stops_its_servers_and_a_retry_resumes_it(
    prefect: Prefect, engine: Engine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["run", "--deployment", "build/demo", "--out", str(out), "--scale", "0.2"]
    following = prefect.start(*words, *engine.words)
    until(lambda: len(engine.asked) > 6)
    run = prefect.runs()[0]["id"]
    prefect.set_state(run, "CANCELLING", "Cancelling")
    said, _ = following.communicate(timeout=240)
    assert following.returncode == 1
    assert "the flow run ended as Cancelled" in said
    assert not engine.running
    with lock(out):
        pass  # nothing holds it any more
    asked = engine.asked.total()
    assert asked < 22
    engine.write(0)
    prefect.set_state(run, "SCHEDULED", "AwaitingRetry")
    until(lambda: prefect.state(run) == "Completed")
    assert trained(out) > 1000
    assert engine.asked.total() > asked
    assert engine.twice() == 0  # the signal let arrive what was in flight
    assert not engine.running


def test_ctrl_c_leaves_the_run_and_a_killed_worker_s_build_is_resumed_by_another(
    prefect: Prefect, engine: Engine, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["run", "--deployment", "build/demo", "--out", str(out), "--scale", "0.2"]
    following = prefect.start(*words, *engine.words)
    until(lambda: len(engine.asked) > 3)
    run = prefect.runs()[0]["id"]
    following.send_signal(signal.SIGINT)
    said, _ = following.communicate(timeout=240)
    assert following.returncode == 130
    assert f"`prefect flow-run cancel {run}` cancels it" in said
    before = len(engine.asked)
    until(lambda: len(engine.asked) > before)  # it goes on
    prefect.kill_worker()
    until(lambda: not engine.running)
    assert not (out / "shards" / "pretrain" / "manifest.json").exists()
    assert prefect.state(run) == "Running"
    prefect.set_state(run, "CRASHED", "Crashed", force=True)  # frees the deployment's one slot
    prefect.start_worker()
    engine.write(0)
    result = prefect.shardmill(*words, *engine.words)
    assert result.returncode == 0, result.stdout
    assert trained(out) > 1000
    assert engine.twice() <= AT_ONCE


def test_the_command_line_reports_to_a_server_that_is_set_and_reads_its_variables(
    prefect: Prefect, fake: FakeServer, tmp_path: Path
) -> None:
    words = ["run", "demo", "--out", str(tmp_path / "out"), "--scale", "0.1"]
    words += ["--set", "engine.model=fake", "--set", "engine.endpoints_from=prefect:servers"]
    missing = prefect.shardmill(*words)
    assert missing.returncode == 1
    assert "there is no Prefect variable 'servers'" in missing.stdout
    assert prefect("variable", "set", "servers", fake.url).returncode == 0
    result = prefect.shardmill(*words)
    assert result.returncode == 0, result.stdout
    (latest,) = prefect.api("artifacts/filter", {"sort": "CREATED_DESC", "limit": 1})
    assert latest["key"] == "demo-summary"
    page = (tmp_path / "out" / "report" / "index.html").as_uri()
    assert page in latest["data"]
    assert f"report: {page}" in result.stdout


def test_the_stages_make_a_build_one_after_the_other(
    prefect: Prefect, fake: FakeServer, tmp_path: Path
) -> None:
    result = prefect.run("-c", STAGES, str(tmp_path), fake.url)
    ended = [line for line in result.stdout.splitlines() if re.match("[a-z]+ [A-Z]", line)]
    states = [" ".join(line.split()[:2]) for line in ended]
    assert states == [
        "curate Failed", "generate Completed", "pack Failed", "curate Completed", "pack Completed"
    ], result.stdout  # fmt: skip
    assert "samples.roleplay not there yet; run the flow generate with the same" in result.stdout
    assert "verdicts.1.length, " in ended[2]
    assert ended[2].endswith("not there yet; run the flow curate with the same parameters first")
    changes = ["engine.model=fake", f"engine.endpoints=[{fake.url}]"]
    assert plan_build("demo", tmp_path, changes, 0.2).done
    assert trained(tmp_path) > 500
