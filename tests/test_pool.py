"""What a build does where one endpoint of several, or one request of many, misbehaves."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from data import ROOT
from data.errors import BudgetReached, EngineError
from flows.progress import Live, Progress, Share, Shares
from inference.account import Account, Price
from inference.client import Client, Request
from inference.endpoint import Endpoint, trouble
from inference.pool import Pool
from inference.record import Completion, Record
from inference.server import free_port
from tests.builds import Notes, build
from tests.fake_server import FakeServer

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.retries.PAUSE", 0.02)
    monkeypatch.setattr("inference.retries.LONGEST_PAUSE", 0.1)
    monkeypatch.setattr("inference.pool.PROBE", 0.05)


def asked(
    folder: Path, urls: list[str], count: int, *, patience: float, concurrency: int = 4
) -> tuple[list[Completion], float, list[str], Pool]:
    """The completions of `count` requests through a pool, its seconds, and what it said."""
    found: list[Completion] = []
    lines: list[str] = []

    def requests() -> Iterator[Request]:
        for n in range(count):
            yield Request(f"{n:032x}", {"messages": [{"content": f"{n}"}], "seed": n}, "s")

    def arrived(request: Request, completion: Completion) -> list[Request]:
        found.append(completion)
        return []

    async def run() -> Pool:
        endpoints = [Endpoint(url, concurrency) for url in urls]
        async with Client("fake", timeout=10) as client:
            with Record(folder) as record:
                account = Account(folder, Price())
                pool = Pool(endpoints, client, record, account, patience=patience, say=lines.append)
                await asyncio.wait_for(pool.run(requests(), arrived), 60)
        return pool

    began = time.monotonic()
    pool = asyncio.run(run())
    return found, time.monotonic() - began, lines, pool


def errors(found: list[Completion]) -> list[str]:
    return [completion.error for completion in found if completion.error]


def test_a_request_whose_connection_is_always_cut_costs_itself_alone(tmp_path: Path) -> None:
    def fault(body: dict[str, Any], before: int) -> Any:
        return "cut" if body["seed"] == 3 else None

    with FakeServer(fault=fault, delay=0.01) as server:
        found, _, _, _ = asked(tmp_path, [server.url], 40, patience=3)
    assert len(found) == 40
    (words,) = errors(found)
    assert "given up after" in words


def test_an_endpoint_that_only_pushes_back_does_not_starve_the_other(tmp_path: Path) -> None:
    def busy(body: dict[str, Any], before: int) -> Any:
        return web.Response(status=503, headers={"Retry-After": "2"})

    with FakeServer(fault=busy) as broken, FakeServer(delay=0.01) as healthy:
        found, seconds, _, _ = asked(tmp_path, [broken.url, healthy.url], 200, patience=30)
        assert not errors(found)
        assert healthy.requests == 200
        assert broken.requests <= 12
        assert seconds < 15


def test_a_limited_endpoint_loses_no_row_however_long_its_queue_is(tmp_path: Path) -> None:
    last = 0.0

    def limited(body: dict[str, Any], before: int) -> Any:
        nonlocal last
        if time.monotonic() - last < 0.1:
            return web.Response(status=429, text="slow down")
        last = time.monotonic()
        return None

    with FakeServer(fault=limited) as server:
        found, seconds, _, _ = asked(tmp_path, [server.url], 30, patience=1, concurrency=64)
    assert seconds > 2
    assert len(found) == 30
    assert not errors(found)


def test_requests_that_no_endpoint_takes_are_given_up_after_the_patience(tmp_path: Path) -> None:
    def busy(body: dict[str, Any], before: int) -> Any:
        return web.Response(status=503, text="full")

    with FakeServer(fault=busy) as server:
        found, _, _, _ = asked(tmp_path, [server.url], 4, patience=0.5)
    assert len(errors(found)) == 4


def test_an_endpoint_that_refuses_is_left_out_unless_all_refuse(tmp_path: Path) -> None:
    def refuse(body: dict[str, Any], before: int) -> Any:
        return web.Response(status=401, text="no key")

    with FakeServer(fault=refuse) as refusing, FakeServer() as healthy:
        found, _, lines, _ = asked(tmp_path / "a", [refusing.url, healthy.url], 30, patience=9)
        assert len(found) == 30
        assert not errors(found)
        (line,) = [line for line in lines if "refuses requests (401: no key)" in line]
        assert refusing.url in line
        with pytest.raises(EngineError, match=r"refuses requests .401: no key"):
            asked(tmp_path / "b", [refusing.url], 30, patience=9)


def test_setting_aside_and_taking_back_are_said(tmp_path: Path) -> None:
    failing = iter(range(6))

    def fault(body: dict[str, Any], before: int) -> Any:
        return web.Response(status=500, text="oops") if next(failing, None) is not None else None

    with FakeServer(fault=fault) as server:
        found, _, lines, pool = asked(tmp_path, [server.url], 20, patience=9)
    assert not errors(found)
    assert f"{server.url} is set aside (500: oops)" in lines
    assert f"{server.url} is back" in lines
    assert trouble(pool.endpoints) == ""


def test_one_dead_endpoint_of_two_is_said_and_done_without(
    write_recipe: Write, tmp_path: Path
) -> None:
    dead, notes = f"http://127.0.0.1:{free_port()}/v1", Notes()
    with FakeServer() as server:
        plan = build(write_recipe(dead, server.url), tmp_path / "out", notes=notes)
        assert server.requests == 50
    assert plan.done
    assert any(dead in line and "does not answer" in line for line in notes.lines)
    with pytest.raises(EngineError, match="does not answer as an OpenAI-compatible server"):
        build(write_recipe(dead), tmp_path / "none")


def test_an_address_without_v1_is_told_what_it_lacks(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="commonly ends in /v1"):
        build(write_recipe(fake.url.removesuffix("/v1")), tmp_path / "out")


def test_a_budget_of_requests_is_exact_whatever_is_in_flight(
    write_recipe: Write, tmp_path: Path
) -> None:
    with FakeServer(delay=0.02) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        for limit in (5, 20):
            with pytest.raises(BudgetReached, match=f"requests: {limit} of {limit}"):
                build(recipe, out, f"engine.budget.requests={limit}")
            assert server.requests == sum(server.answered.values()) == limit
        assert build(recipe, out, "engine.budget.requests=50").done


def test_hours_run_out_while_nothing_arrives(write_recipe: Write, tmp_path: Path) -> None:
    with FakeServer(fault=lambda body, before: "hang") as server:
        changes = ("engine.budget.hours=0.0002", "engine.timeout_seconds=3")
        with pytest.raises(BudgetReached, match="hours"):
            build(write_recipe(server.url), tmp_path / "out", *changes)
        assert server.requests <= 50


def test_a_kill_does_not_forget_what_was_spent(write_recipe: Write, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from tests.builds import build\n"
    script += "build(Path(sys.argv[1]), Path(sys.argv[2]), 'engine.concurrency=4')\n"
    with FakeServer(delay=0.5) as server:
        recipe, out = write_recipe(server.url), tmp_path / "out"
        process = subprocess.Popen([sys.executable, "-c", script, recipe, out], cwd=ROOT)
        deadline = time.monotonic() + 60
        while sum(server.answered.values()) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    account = Account(out / "completions", Price())
    assert account.before.requests >= 4


def test_the_line_is_kept_fresh_while_nothing_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.progress.EVERY", 0.0)
    lines: list[str] = []
    progress = Progress(log=lines.append)
    away = "1 of 2 endpoints away: x: 503: full"
    progress.start(Shares(a=Share("math", 10)), Live(lambda: 4, trouble=lambda: away))
    progress.tick()
    assert "generate 0/10" in lines[-1]
    assert "in flight 4" in lines[-1]
    assert lines[-1].endswith(away)
    progress.arrived("a", 5, accepted=True)
    progress.start(Shares(b=Share("math", 12)), Live())
    progress.tick()
    assert "generate 0/12" in lines[-1]


def test_each_level_of_a_chain_sums_up_its_own(
    fake: FakeServer, write_recipe: Write, tmp_path: Path
) -> None:
    def chained(recipe: dict[str, Any]) -> None:
        courses = {"file": "data/seeds/courses.jsonl"}
        recipe["generate"] = {
            "courses": {"kind": "course_text", "seeds": {"from": "outlines"}, "samples": 8},
            "outlines": {"kind": "outline", "seeds": courses, "samples": 12},
        }

    notes = Notes()
    build(write_recipe(fake.url, change=chained), tmp_path / "out", notes=notes)
    sums = [line for line in notes.lines if line.startswith("generated")]
    assert [line.split(",")[0] for line in sums] == [
        "generated 12 completions",
        "generated 8 completions",
    ]


FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), int(sys.argv[4])))
from pathlib import Path
from tests.builds import Notes, build
notes = Notes()
build(Path(sys.argv[1]), Path(sys.argv[2]), "engine.concurrency=512", notes=notes)
print("\\n".join(notes.lines))
"""


@pytest.mark.parametrize(("soft", "hard", "said"), [(100, 4000, False), (100, 100, True)])
def test_few_open_files_are_raised_or_lived_with(
    soft: int, hard: int, said: bool, write_recipe: Write, tmp_path: Path
) -> None:
    def more(recipe: dict[str, Any]) -> None:
        recipe["generate"]["books"]["samples"] = 150

    with FakeServer(delay=0.3) as server:
        recipe = write_recipe(server.url, change=more)
        words = [str(recipe), str(tmp_path / "out"), str(soft), str(hard)]
        shown = subprocess.run(
            [sys.executable, "-c", FEW_FILES, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert shown.returncode == 0, shown.stderr
        assert server.requests == 170
    assert ("may open 100 files" in shown.stdout) == said


def test_who_joins_between_two_rounds_of_requests_is_asked_in_the_second(tmp_path: Path) -> None:
    """As builds that share a folder have them; whoever added it had died of it."""

    async def run(url: str) -> int:
        async with Client("fake", timeout=10) as client:
            with Record(tmp_path) as record:
                pool = Pool([], client, record, Account(tmp_path, Price()))
                await pool.run([], lambda request, completion: [])
                pool.add(Endpoint(url, 4))
                request = Request("0" * 32, {"messages": [{"content": "0"}], "seed": 0}, "s")
                await asyncio.wait_for(pool.run([request], lambda *_: []), 60)
        return len(record.find(["0" * 32]))

    with FakeServer() as server:
        assert asyncio.run(run(server.url)) == 1
        assert server.requests == 1
