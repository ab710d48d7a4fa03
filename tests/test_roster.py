"""Endpoints that are listed outside of the recipe, and come and go."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from httpx import ConnectError

from data.errors import EngineError, RecipeError
from flows.engine import follow
from flows.roster import listed
from inference.endpoint import Endpoint
from inference.pool import Pool
from tests.builds import Notes, build
from tests.fake_server import FakeServer

Write = Callable[..., Path]


def from_list(path: Path) -> tuple[str, ...]:
    return "engine.endpoints=[]", f"engine.endpoints_from={path}", "engine.concurrency=2"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.roster.FILE_SECONDS", 0.02)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_servers_join_and_leave_while_a_build_asks(write_recipe: Write, tmp_path: Path) -> None:
    path, notes = tmp_path / "servers.txt", Notes()
    with FakeServer(delay=0.05) as first, FakeServer(delay=0.05) as second:
        path.write_text(f"# boxes\n{first.url}/\n")

        def change() -> None:
            until(lambda: first.requests >= 8)
            path.write_text(f"{first.url}\n{second.url}  # a new one\n")
            until(lambda: second.requests >= 8)
            path.write_text(f"{second.url}\n")

        changing = threading.Thread(target=change)
        changing.start()
        build(write_recipe(first.url), tmp_path / "out", *from_list(path), notes=notes)
        changing.join()
        assert len(first.answered + second.answered) == 50
        assert (first.answered + second.answered).total() == 50
        assert first.requests < 40
        told = [line for line in notes.lines if "http://" in line]
        assert told == [f"{second.url} joins", f"{first.url} is no longer listed"]


def test_a_build_waits_for_the_first_server(write_recipe: Write, tmp_path: Path) -> None:
    path, notes = tmp_path / "servers.txt", Notes()
    with FakeServer() as server:
        timer = threading.Timer(0.5, path.write_text, [server.url])
        timer.start()
        build(write_recipe(server.url), tmp_path / "out", *from_list(path))
        assert server.requests == 50
    with pytest.raises(EngineError, match="no endpoint has answered"):
        build(
            write_recipe(server.url, name="other"),
            tmp_path / "other",
            *from_list(tmp_path / "none"),
            "engine.patience_seconds=0.6",
            notes=notes,
        )
    assert f"{tmp_path / 'none'} names no endpoint; waiting 0.6 s for one" in notes.lines


def test_a_list_that_breaks_leaves_the_endpoints_as_they_are(
    write_recipe: Write, tmp_path: Path
) -> None:
    path, notes = tmp_path / "servers.txt", Notes()
    with FakeServer(delay=0.05) as server:
        path.write_text(server.url)

        def change() -> None:
            until(lambda: server.requests >= 8)
            path.write_text(f"{server.url}\nbox-2:8000\n")

        changing = threading.Thread(target=change)
        changing.start()
        build(write_recipe(server.url), tmp_path / "out", *from_list(path), notes=notes)
        changing.join()
    (line,) = [line for line in notes.lines if "no URL" in line]
    assert line.startswith(f"{path}:2: 'box-2:8000' is no URL")


def test_who_was_dropped_between_two_levels_is_asked_no_more(tmp_path: Path) -> None:
    path, notes = tmp_path / "servers.txt", Notes()
    path.write_text("")
    engine = SimpleNamespace(endpoints_from=str(path))
    given, dropped = Endpoint("http://a/v1", 4), Endpoint("http://b/v1", 4, listed=True)
    plan: Any = SimpleNamespace(recipe=SimpleNamespace(engine=engine))
    pool = a_pool(given, dropped)
    client: Any = None

    async def watch() -> None:
        task = asyncio.create_task(follow(plan, client, pool, notes))
        async with asyncio.timeout(10):
            while not notes.lines:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(watch())
    assert notes.lines == ["http://b/v1 is no longer listed"]
    assert pool.endpoints == [given]
    assert dropped.gone


def a_pool(*endpoints: Endpoint) -> Pool:
    nothing: Any = None
    return Pool(endpoints, nothing, nothing, nothing)


def test_a_list_that_is_just_being_written_drops_nobody(
    write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, looks = Notes(), itertools.count()
    with FakeServer(delay=0.05) as server:
        whole = [server.url]
        monkeypatch.setattr("flows.engine.listed", lambda place: whole if next(looks) % 3 else [])
        build(write_recipe(server.url), tmp_path / "out", *from_list(tmp_path / "x"), notes=notes)
        assert server.requests == 50
    assert next(looks) > 6
    assert not [line for line in notes.lines if "no longer listed" in line]


def test_a_line_that_is_no_address_is_named(tmp_path: Path) -> None:
    path = tmp_path / "servers.txt"
    path.write_text("http://box-1:8000/v1\n\nftp://box-2\n")
    with pytest.raises(RecipeError, match=r"servers\.txt:3: 'ftp://box-2' is no URL"):
        listed(str(path))
    path.write_text("http://a/v1/\n http://a/v1 # twice\nhttps://b/v1")
    assert listed(str(path)) == ["http://a/v1", "https://b/v1"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(EngineError, match="cannot be read"):
        listed(str(path))


def test_a_prefect_server_that_is_away_is_told_as_a_list_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else whoever follows the list would end, and nobody be told."""

    def away(name: str) -> str:
        raise ConnectError("All connection attempts failed")

    monkeypatch.setattr("prefect.variables.Variable.get", away)
    with pytest.raises(EngineError, match="All connection attempts failed"):
        listed("prefect:servers")
