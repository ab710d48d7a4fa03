"""Servers that fail in every way, and ourselves killed: nothing lost, doubled or changed."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from data import ROOT
from data.errors import BudgetReached, EngineError, OutputError
from flows.exchange import Exchange
from inference.server import free_port
from tests.builds import Notes, build, digests, parts
from tests.fake_server import FakeServer

Write = Callable[..., Path]
FIRST_FAULTS: dict[str, Any] = {
    "500": lambda: web.Response(status=500, text="oops"),
    "429": lambda: web.Response(status=429, text="slow down"),
    "429 with Retry-After": lambda: web.Response(status=429, headers={"Retry-After": "1"}),
    "503 with a date": lambda: web.Response(
        status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    ),
    "cut in mid-body": lambda: "cut",
    "time-out": lambda: "hang",
    "invalid JSON": lambda: web.Response(text="{nonsense"),
    "no choices": lambda: web.json_response({"choices": []}),
    "an HTML page": lambda: web.Response(text="<html>gateway</html>", content_type="text/html"),
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.retries.PAUSE", 0.02)
    monkeypatch.setattr("inference.retries.LONGEST_PAUSE", 0.1)
    monkeypatch.setattr("inference.pool.PROBE", 0.05)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of an undisturbed build of the small recipe."""
    return {}


def expected(clean: dict[str, str], write_recipe: Write, tmp_path: Path) -> dict[str, str]:
    if not clean:
        with FakeServer() as server:
            clean |= parts(build(write_recipe(server.url), tmp_path / "clean"))
    return clean


@pytest.mark.parametrize("name", FIRST_FAULTS)
def test_a_fault_that_passes_changes_no_byte_and_loses_no_row(
    name: str, clean: dict[str, str], write_recipe: Write, tmp_path: Path
) -> None:
    def fault(body: dict[str, Any], before: int) -> Any:
        return FIRST_FAULTS[name]() if not before and body["seed"] % 4 == 0 else None

    wanted = expected(clean, write_recipe, tmp_path)
    with FakeServer(fault=fault) as server:
        plan = build(write_recipe(server.url), tmp_path / "out", "engine.timeout_seconds=0.5")
        assert parts(plan) == wanted
        assert set(server.answered.values()) == {1}
        assert len(server.answered) == 50
        assert server.requests > 50


def test_retry_after_is_honoured(write_recipe: Write, tmp_path: Path) -> None:
    times: dict[int, list[float]] = {}

    def fault(body: dict[str, Any], before: int) -> Any:
        times.setdefault(body["seed"], []).append(time.monotonic())
        late = not before and body["seed"] % 10 == 0
        return web.Response(status=429, headers={"Retry-After": "1"}) if late else None

    with FakeServer(fault=fault) as server:
        build(write_recipe(server.url), tmp_path / "out")
    waits = [moments[1] - moments[0] for moments in times.values() if len(moments) > 1]
    assert waits
    assert min(waits) >= 1.0


def test_a_row_that_always_fails_costs_itself_alone(write_recipe: Write, tmp_path: Path) -> None:
    def fault(body: dict[str, Any], before: int) -> Any:
        return web.Response(status=500, text="out of cheese") if body["seed"] % 16 == 0 else None

    with FakeServer(fault=fault) as server:
        plan = build(write_recipe(server.url), tmp_path / "out")
        lost = {body["seed"] for body in server.bodies if body["seed"] % 16 == 0}
    verdicts = pl.concat(
        [pl.read_parquet(s.samples.folder / "verdicts-*.parquet") for s in plan.sources]
    )
    assert lost
    assert len(verdicts) == len(lost)
    assert all("500: out of cheese" in figures for figures in verdicts["figures"])
    assert all("given up after" in figures for figures in verdicts["figures"])


def test_too_many_failed_rows_stop_the_build_and_it_goes_on_when_mended(
    clean: dict[str, str], write_recipe: Write, tmp_path: Path
) -> None:
    wanted = expected(clean, write_recipe, tmp_path)
    failing = True

    def fault(body: dict[str, Any], before: int) -> Any:
        refused = failing and body["seed"] % 2 == 0
        return web.json_response({"error": "context overflow"}, status=400) if refused else None

    with FakeServer(fault=fault) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        changes = ("engine.min_requests=10", "engine.concurrency=4")
        with pytest.raises(EngineError, match=r"of \d+ rows failed, more than max_error_share 0.1"):
            build(recipe, out, *changes)
        assert server.requests < 40
        failing = False
        assert parts(build(recipe, out, *changes)) == wanted
        assert set(server.answered.values()) == {1}


def test_a_small_build_in_which_too_many_rows_fail_is_not_sealed(
    clean: dict[str, str], write_recipe: Write, tmp_path: Path
) -> None:
    wanted, failing = expected(clean, write_recipe, tmp_path), True

    def fault(body: dict[str, Any], before: int) -> Any:
        refused = failing and body["seed"] % 2
        return web.json_response({"error": "no"}, status=400) if refused else None

    with FakeServer(fault=fault) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        with pytest.raises(EngineError, match=r"of 50 rows failed, more than max_error_share 0.1"):
            build(recipe, out, "engine.min_requests=1000")
        assert server.requests == 50
        failing = False
        assert parts(build(recipe, out, "engine.min_requests=1")) == wanted
        assert set(server.answered.values()) == {1}


def test_the_first_request_does_not_wait_for_the_last_row(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    at_first: list[int] = []

    class Counted(Exchange):
        def __init__(self, *given: Any) -> None:
            nonlocal made
            made += 1
            super().__init__(*given)

    def fault(body: dict[str, Any], before: int) -> None:
        at_first.append(made)

    monkeypatch.setattr("flows.completing.Exchange", Counted)
    with FakeServer(fault=fault) as server:
        build(write_recipe(server.url), tmp_path / "out", "engine.concurrency=1")
    assert at_first[0] <= 16
    assert made == 50


def test_requests_of_a_dead_endpoint_move_to_the_living(
    clean: dict[str, str], write_recipe: Write, tmp_path: Path
) -> None:
    wanted = expected(clean, write_recipe, tmp_path)
    with FakeServer(delay=0.02) as living, FakeServer(delay=0.02) as dying:
        recipe = write_recipe(living.url, dying.url)
        killer = threading.Thread(target=stop_after, args=(dying, 5))
        killer.start()
        plan = build(recipe, tmp_path / "out", "engine.concurrency=4")
        killer.join()
        assert parts(plan) == wanted
        assert living.requests >= 40
        assert 5 <= dying.requests <= 10


def stop_after(server: FakeServer, requests: int) -> None:
    deadline = time.monotonic() + 30
    while server.requests < requests and time.monotonic() < deadline:
        time.sleep(0.005)
    server.__exit__(None, None, None)


def test_all_servers_down_for_a_minute_costs_only_time(
    clean: dict[str, str], write_recipe: Write, tmp_path: Path
) -> None:
    wanted = expected(clean, write_recipe, tmp_path)
    port = free_port()
    first, second = FakeServer(port=port, delay=0.02), FakeServer(port=port)
    first.__enter__()

    def restart() -> None:
        stop_after(first, 10)
        time.sleep(60)
        second.__enter__()

    restarter = threading.Thread(target=restart)
    restarter.start()
    try:
        plan = build(write_recipe(first.url), tmp_path / "out", "engine.concurrency=4")
    finally:
        restarter.join()
        second.__exit__(None, None, None)
    assert parts(plan) == wanted
    asked = first.answered + second.answered
    assert len(asked) == 50
    assert sum(asked.values()) <= 54


def test_servers_that_stay_away_end_the_build_with_what_arrived(
    write_recipe: Write, tmp_path: Path
) -> None:
    server = FakeServer(delay=0.02)
    server.__enter__()
    killer = threading.Thread(target=stop_after, args=(server, 10))
    killer.start()
    with pytest.raises(EngineError, match=r"no endpoint has answered for"):
        build(
            write_recipe(server.url),
            tmp_path / "out",
            "engine.concurrency=4",
            "engine.patience_seconds=1",
        )
    killer.join()
    with FakeServer() as again:
        build(write_recipe(again.url), tmp_path / "out")
        assert again.requests <= 50 - 6


def test_a_full_disk_while_logging_stops_the_build_and_loses_nothing(
    clean: dict[str, str], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = expected(clean, write_recipe, tmp_path)
    write, written = os.write, 0

    def full(file: int, data: Any) -> int:
        nonlocal written
        written += len(data)
        if b'"crc"' in bytes(data[:20]) and written > 20_000:
            write(file, bytes(data[: len(data) // 2]))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    with FakeServer(delay=0.01) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="the disk is full"):
            build(recipe, out, "engine.concurrency=4")
        monkeypatch.setattr(os, "write", write)
        before = sum(server.answered.values())
        assert 0 < before < 50
        assert parts(build(recipe, out, "engine.concurrency=4")) == wanted
        assert sum(server.answered.values()) <= 50 + 8
        assert max(server.answered.values()) <= 2


def test_a_budget_stops_cleanly_and_resumes_when_it_is_raised(
    clean: dict[str, str], write_recipe: Write, tmp_path: Path
) -> None:
    wanted = expected(clean, write_recipe, tmp_path)
    with FakeServer(delay=0.01) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        few = ("engine.concurrency=2", "engine.budget.requests=20")
        for _ in range(2):  # the second build finds it used up and asks nothing
            with pytest.raises(BudgetReached, match=r"requests: 2[0-2] of 20"):
                build(recipe, out, *few)
            assert 20 <= server.requests <= 22
        plan = build(recipe, out, "engine.budget.requests=60")
        assert parts(plan) == wanted
        assert server.requests == 50
    accounts = [(source.completions.manifest or {})["account"] for source in plan.generated]
    assert sum(account["requests"] for account in accounts) < 50
    assert sum(account["all_runs"]["requests"] for account in accounts) == 50


@pytest.mark.parametrize(
    "limit", ["tokens=500", "money=0.001", "hours=0.0000001"], ids=lambda limit: limit
)
def test_every_unit_of_the_budget_stops_a_build(
    fake: FakeServer, write_recipe: Write, tmp_path: Path, limit: str
) -> None:
    with pytest.raises(BudgetReached, match=limit.partition("=")[0]):
        build(
            write_recipe(fake.url),
            tmp_path / "out",
            "engine.concurrency=1",
            "engine.price.completion=1",
            f"engine.budget.{limit}",
        )
    assert fake.requests < 50


def test_the_account_stands_in_the_manifest(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    notes = Notes()
    plan = build(write_recipe(fake.url), tmp_path / "out", "engine.price.prompt=1", notes=notes)
    manifest = plan.generated[0].completions.manifest or {}
    account = manifest["account"]
    assert (account["requests"], account["prompt_tokens"]) == (30, 600)
    assert account["money"] == pytest.approx(600 / 1e6)
    assert 0 < account["latency_p50"] <= account["latency_p99"]
    assert any("generated 50 completions" in line for line in notes.lines)


def many(recipe: dict[str, Any]) -> None:
    recipe["generate"]["books"]["samples"] = 1700
    recipe["generate"]["sums"]["samples"] = 300
    recipe["part_rows"] = 250


FORKS = multiprocessing.get_context("forkserver")  # the imports are paid once
FORKS.set_forkserver_preload(["tests.builds"])


def start(recipe: Path, out: Path) -> ForkServerProcess:
    process = FORKS.Process(target=build, args=(recipe, out, "engine.concurrency=16"))
    process.start()
    return process


def test_twenty_random_kills_over_2000_requests_lose_and_double_nothing(
    write_recipe: Write, tmp_path: Path
) -> None:
    dice = random.Random(20)
    with FakeServer() as server:
        clean = build(write_recipe(server.url, change=many), tmp_path / "clean")
    with FakeServer(delay=0.05) as server:
        recipe, out = write_recipe(server.url, change=many), tmp_path / "out"
        kills = 0
        for target in sorted(dice.sample(range(30, 1900), 20)):
            process = start(recipe, out)
            deadline = time.monotonic() + 60
            while len(server.answered) < target and process.is_alive():
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.kill()
            process.join()
            kills += 1
        last = start(recipe, out)
        last.join(120)
        assert last.exitcode == 0
        again = server.requests - 2000
        assert len(server.asked) == 2000
        assert again <= kills * (16 + 16)  # in flight, and one group not yet on disk
    found = digests(out / "shards")
    assert {k: v for k, v in found.items() if "manifest" not in k} == {
        k: v for k, v in digests(clean.out / "shards").items() if "manifest" not in k
    }


def wait_for(server: FakeServer, count: int) -> None:
    deadline = time.monotonic() + 90
    while sum(server.answered.values()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def command_line(recipe: Path, out: Path) -> "subprocess.Popen[str]":
    words = ["run", str(recipe), "--out", str(out), "--set", "engine.concurrency=4"]
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def slow() -> Iterator[FakeServer]:
    with FakeServer(delay=0.4) as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_once_lets_arrive_what_is_in_flight(
    slow: FakeServer, write_recipe: Write, tmp_path: Path, number: int
) -> None:
    recipe, out = write_recipe(slow.url), tmp_path / "out"
    process = command_line(recipe, out)
    wait_for(slow, 8)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command resumes" in errors
    assert "Traceback" not in errors
    answered = sum(slow.answered.values())
    assert answered == slow.requests < 50
    slow.delay = 0
    assert build(recipe, out).done
    assert set(slow.answered.values()) == {1}


def test_ctrl_c_twice_stops_at_once(write_recipe: Write, tmp_path: Path) -> None:
    def stuck(body: dict[str, Any], before: int) -> Any:
        return "hang" if sum(server.answered.values()) >= 8 else None

    with FakeServer(fault=stuck) as server:
        process = command_line(write_recipe(server.url), tmp_path / "out")
        wait_for(server, 8)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert time.monotonic() - began < 15
        assert "Traceback" not in errors
