"""Builds that share OUT: each part made once, whoever dies."""

import asyncio
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from data.errors import OutputError
from data.leases import Leases, lock
from data.parts import Stage
from flows.build import run_stages
from flows.completing import Division, Part
from flows.plan import plan_build
from flows.sharing import joined, sharing
from flows.stages import Missing, run_parts
from inference.record import Record
from tests.builds import Notes, build, digests, parts
from tests.fake_server import FakeServer

Write = Callable[..., Path]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.test_sharing"])


def share(
    recipe: Path, out: Path, url: str, together: Barrier | None = None, concurrency: int = 4
) -> None:
    if together:
        together.wait(60)
    plan = plan_build(
        str(recipe), out, [f"engine.concurrency={concurrency}", f"engine.endpoints=[{url}]"]
    )
    with lock(out, share=True), joined(plan) as plan:
        run_stages(plan, Notes())


@pytest.fixture
def servers() -> Iterator[list[FakeServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(FakeServer(delay=0.2)) for _ in range(2)]


def asked(servers: list[FakeServer]) -> Counter[str]:
    return sum((server.answered for server in servers), Counter())


def all_but_facts(out: Path) -> dict[str, str]:
    """What the stages and shards hold; manifests also tell how long something took."""
    folders = ("stages", "shards")
    found = {f"{name}/{k}": v for name in folders for k, v in digests(out / name).items()}
    return {name: value for name, value in found.items() if "manifest" not in name}


def test_two_builds_make_each_part_once_and_the_bytes_of_one(
    servers: list[FakeServer], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(servers[0].url), tmp_path / "out"
    both = FORKS.Barrier(2)
    builders = [FORKS.Process(target=share, args=(recipe, out, one.url, both)) for one in servers]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(120)
        assert builder.exitcode == 0
    counted = asked(servers)
    assert len(counted) == counted.total() == 50
    assert min(server.requests for server in servers) >= 8  # both worked
    assert not list((out / "leases").iterdir())
    with FakeServer() as server:
        build(write_recipe(server.url), tmp_path / "alone")
    assert all_but_facts(out) == all_but_facts(tmp_path / "alone")


def test_what_a_killed_build_leaves_another_takes_over(
    servers: list[FakeServer], write_recipe: Write, tmp_path: Path
) -> None:
    recipe, out = write_recipe(servers[0].url), tmp_path / "out"
    killed, other = [FORKS.Process(target=share, args=(recipe, out, s.url)) for s in servers]
    killed.start()
    other.start()
    deadline = time.monotonic() + 60
    while servers[0].requests < 9 and killed.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.kill()
    killed.join(60)
    other.join(120)
    assert other.exitcode == 0
    counted = asked(servers)
    assert len(counted) == 50
    assert counted.total() <= 50 + 4 + 4  # in flight, and one group not yet on disk
    with FakeServer() as server:
        clean = build(write_recipe(server.url), tmp_path / "alone")
    assert digests(out / "shards").keys() == digests(clean.out / "shards").keys()
    assert parts(plan_build(str(recipe), out)) == parts(clean)


def test_what_is_damaged_while_builds_share_is_made_again(
    write_recipe: Write, tmp_path: Path
) -> None:
    """The build lets go of the parts that it was asking for, or it would wait for itself."""
    out, harmed = tmp_path / "out", threading.Event()

    def harm(body: dict[str, Any], before: int) -> None:
        if not harmed.is_set():
            harmed.set()
            (prompts,) = (out / "stages").glob("prompts.books-*/part-00003.parquet")
            prompts.write_bytes(b"torn" + prompts.read_bytes()[4:])

    with FakeServer(fault=harm) as server:
        recipe = write_recipe(server.url)
        builder = FORKS.Process(target=share, args=(recipe, out, server.url, None, 2))
        builder.start()
        builder.join(60)
        builder.kill()
        builder.join(60)
        assert builder.exitcode == 0
        assert len(server.answered) == 50
        assert server.requests <= 50 + 2  # in flight when the damage was met


def asked_part(stage: Stage, index: int, error: str | None = None) -> Part:
    """A part of one row whose reply is there."""

    class Written(Part):
        def write(self) -> None:
            stage.write(
                self.index, pa.table({"id": [self.index], "error": pa.array([error], pa.string())})
            )

    source: Any = SimpleNamespace(name="books", completions=stage)
    return Written(source, index, [], 0)


def test_a_build_that_lost_a_part_while_it_slept_waits_for_it(tmp_path: Path) -> None:
    """The stage had ended without the part that another build had taken over."""
    stage, known = Stage(tmp_path, "completions.books", {}), Record(tmp_path / "completions")
    stage.begin()
    with Leases(tmp_path, "plan", expiry=1.0) as mine:
        division = Division(mine, Notes())
        both = [asked_part(stage, index) for index in range(2)]
        for one in both:
            division.add(one.source, one.index, 1)
        assert len(list(division.mine(known))) == 2
        silence(mine)
        time.sleep(1.0)
        for one in both:
            division.write(one)
        assert (division.left, stage.has(0), stage.has(1)) == (2, False, False)
        for one in both:  # by whoever took them over
            one.write()
        asyncio.run(division.rest())
        assert division.left == 0


def test_rows_that_another_build_lost_are_not_asked_again_at_once(tmp_path: Path) -> None:
    stage, known = Stage(tmp_path, "completions.books", {}), Record(tmp_path / "completions")
    stage.begin()
    earlier, now = (asked_part(stage, index, "too long") for index in range(2))
    earlier.write()
    with Leases(tmp_path, "plan") as mine:
        division = Division(mine, Notes())
        for one in (earlier, now):
            division.add(one.source, one.index, 1)
        now.write()
        assert [index for _, index in division.mine(known)] == [0]
        stage.finish()
        asyncio.run(division.rest())
        assert (division.left, division.failed_elsewhere) == (0, 2)


def test_a_build_that_shares_and_one_that_does_not_keep_apart(tmp_path: Path) -> None:
    with lock(tmp_path, share=True):
        with lock(tmp_path, share=True):
            pass
        with pytest.raises(OutputError, match="give --share to all"), lock(tmp_path):
            pass
    with lock(tmp_path), pytest.raises(OutputError, match="another build is running"):
        lock(tmp_path, share=True).__enter__()


def test_builds_of_other_stages_are_refused_while_one_lives(tmp_path: Path) -> None:
    with Leases(tmp_path, "one"):
        with pytest.raises(OutputError, match="builds something else here"):
            Leases(tmp_path, "two").__enter__()
        with Leases(tmp_path, "one"):
            pass
    with Leases(tmp_path, "two"):
        pass


def test_a_lease_is_one_builds_until_it_lets_go(tmp_path: Path) -> None:
    with Leases(tmp_path, "plan") as mine:
        with Leases(tmp_path, "plan") as other:
            assert mine.claim("part-0")
            assert not mine.claim("part-0")
            assert not other.claim("part-0")
            assert other.claim("part-1")
            mine.release("part-0")
            assert other.claim("part-0")
            assert not mine.departed()
        assert mine.departed()
        assert mine.claim("part-1")


def silence(leases: Leases) -> None:
    """As if its machine slept."""
    leases._ended.set()
    leases._heart.join()


def test_one_of_many_takes_the_lease_of_a_holder_that_fell_silent(tmp_path: Path) -> None:
    with ExitStack() as stack:
        asleep = stack.enter_context(Leases(tmp_path, "plan", expiry=2.0))
        others = [stack.enter_context(Leases(tmp_path, "plan", expiry=2.0)) for _ in range(8)]
        for part in range(20):
            assert asleep.claim(f"part-{part}")
        assert not any(one.claim("part-0") for one in others)
        silence(asleep)
        taken: list[str] = []

        def take(one: Leases) -> None:
            deadline = time.monotonic() + 30
            while len(taken) < 20 and time.monotonic() < deadline:
                taken.extend(f"{part}" for part in range(20) if one.claim(f"part-{part}"))

        threads = [threading.Thread(target=take, args=(one,)) for one in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken, key=int) == [str(part) for part in range(20)]
        assert not asleep.holds("part-0")
        asleep.release("part-0")  # which must not free what another has now
        assert not any(one.claim("part-0") for one in others)
        with pytest.raises(OutputError, match="the same command joins them again"):
            asleep.claim("part-20")


def test_parts_of_others_are_waited_for_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.sharing.PATIENCE", 0.0)
    monkeypatch.setattr("flows.sharing.POLL", 0.01)
    made = {2}
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        made.add(1)  # the other build is done with it

    with Leases(tmp_path, "plan") as mine, Leases(tmp_path, "plan") as other:
        assert other.claim("stage-1")
        run = sharing(run_parts, mine, hear)
        run("stage", made.add, Missing(range(4), lambda part: part in made))
    assert made == {0, 1, 2, 3}
    assert said[0].startswith("stage: waiting for a part of process ")
