"""The deployment on a real Prefect server with a real worker, both on loopback."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from data import ROOT
from inference.server import Server, free_port
from tests.fake_server import FakeServer

pytestmark = pytest.mark.prefect_server


@dataclass
class Prefect:
    environment: dict[str, str]

    def __call__(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment,
            timeout=240,
            check=False,
        )


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server with the demo deployed and a worker that takes its runs."""
    home = tmp_path_factory.mktemp("home")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    ours = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
        "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    server = Server(
        "Prefect's server",
        [*command, "--port", str(port)],
        f"{url}/health",
        home / "server.log",
        patience=120,
        environment=ours,
    )
    with server:
        client = Prefect({**os.environ, **ours, "SHARDMILL_VLLM_PYTHON": "/nowhere"})
        made = client("work-pool", "create", "cpu", "--type", "process")
        assert made.returncode == 0, made.stderr
        deployed = client("deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        worker_port = free_port()
        worker = Server(
            "the worker",
            [
                sys.executable,
                "-m",
                "prefect",
                "worker",
                "start",
                "--pool",
                "cpu",
                "--with-healthcheck",
            ],
            f"http://127.0.0.1:{worker_port}/health",
            home / "worker.log",
            patience=90,
            environment={
                **client.environment,
                "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
                "PREFECT_WORKER_WEBSERVER_PORT": str(worker_port),
            },
        )
        with worker:
            yield client


def run_demo(prefect: Prefect, *params: str) -> "subprocess.CompletedProcess[str]":
    words = [word for param in params for word in ("--param", param)]
    return prefect("deployment", "run", "build/demo", "--watch", "--watch-timeout", "200", *words)


def logs(prefect: Prefect) -> str:
    url = prefect.environment["PREFECT_API_URL"]
    body = json.dumps({"limit": 200, "sort": "TIMESTAMP_ASC"}).encode()
    request = urllib.request.Request(
        f"{url}/logs/filter", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return "\n".join(str(line["message"]) for line in json.loads(answer.read()))


def test_a_deployment_runs_to_completed_and_leaves_shards(
    prefect: Prefect, fake: FakeServer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    changes = json.dumps(["engine.model=fake", f"engine.endpoints=[{fake.url}]"])
    result = run_demo(prefect, f"out={out}", f"overrides={changes}", "scale=0.3")
    assert result.returncode == 0, result.stdout + result.stderr
    assert fake.requests > 20
    rows = pl.scan_ipc(out / "shards" / "pretrain" / "train-*.arrow").collect()
    assert rows["n_tokens"].sum() > 1000
    asked = fake.requests
    again = run_demo(prefect, f"out={out}", f"overrides={changes}", "scale=0.3")
    assert again.returncode == 0
    assert fake.requests == asked


def test_a_wrong_recipe_fails_the_run_with_a_clear_line(prefect: Prefect) -> None:
    result = run_demo(prefect, "recipe=demmo")
    assert result.returncode == 1
    deadline = time.monotonic() + 20
    while "did you mean" not in (shown := logs(prefect)) and time.monotonic() < deadline:
        time.sleep(0.5)
    line = "no recipe 'demmo'; did you mean 'demo'? or give the path of a file"
    assert line in shown.splitlines()  # Prefect's engine adds a trace of its own behind it


def test_an_unknown_parameter_is_refused_before_a_run(prefect: Prefect) -> None:
    result = run_demo(prefect, "recipie=demo")
    assert result.returncode == 1
    assert "recipie" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_the_command_line_reports_to_a_server_that_is_set(
    prefect: Prefect, fake: FakeServer, tmp_path: Path
) -> None:
    words = ["run", "demo", "--out", str(tmp_path / "out"), "--scale", "0.1"]
    words += ["--set", "engine.model=fake", "--set", f"engine.endpoints=[{fake.url}]"]
    result = subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=prefect.environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    listed = prefect("artifact", "inspect", "demo-funnel", "--output", "json")
    assert listed.returncode == 0, listed.stderr
    assert "asked" in listed.stdout
    page = (tmp_path / "out" / "report" / "index.html").as_uri()
    assert result.stdout.splitlines()[-1] == f"report: {page}"
    told = prefect("artifact", "inspect", "demo-summary", "--output", "json")
    assert told.returncode == 0, told.stderr
    assert page in told.stdout
