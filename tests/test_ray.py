"""Parts on a real Ray cluster of two nodes on this machine: equal to threads, whoever dies."""

import os
import shlex
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars
import pytest
import ray
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from ray.cluster_utils import Cluster

from data import ROOT
from data.errors import DamagedPart, EngineError, OutputError, RecipeError, ShardmillError
from flows import ray_address
from flows.build import build as flow
from flows.cli import app
from flows.local_prefect import local_prefect
from flows.on_ray import Site, cluster, source_hash
from flows.part_tasks import make_part
from flows.ray_address import find_cluster
from flows.stages import Counted, Runner
from inference.server import free_port
from tests.builds import build, digests
from tests.guides import blocks

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own, about itself

RECIPE = """
name: far
corpora:
  pages: {file: data/samples/fineweb-edu.jsonl}
  sums: {file: data/samples/metamath.jsonl, columns: {text: "{query} {response}"}, tag: Math}
curate: [{length: {min_tokens: 20}}, {normalize_text: {}}, {exact_duplicate: {}}]
outputs: {rows: {tokenizer: gpt2, sequence_length: 128, validation: 0.1}}
part_rows: 40
"""


class Two:
    """A head and a second node; more may be added, and killed."""

    def __init__(self) -> None:
        settings = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
        self.ray = Cluster(initialize_head=True, head_node_args=settings)

    def add(self) -> Any:
        return self.ray.add_node(num_cpus=1, object_store_memory=100 << 20)

    @property
    def address(self) -> str:
        return str(self.ray.address)


@pytest.fixture(scope="module")
def two(own_prefect_home: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # no token in the user's home
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        server, url = local_prefect(tmp_path_factory.mktemp("server"))
        try:
            both = Two()
        except Exception as error:  # noqa: BLE001 - whatever Ray raises
            pytest.skip(f"Ray's head did not start: {error}")
        try:
            try:
                both.add()  # before the server: Ray gives a node 30 s to start
            except Exception as error:  # noqa: BLE001 - whatever Ray raises
                pytest.skip(f"Ray's second node did not start in 30 s: {error}")
            server.start()
            server.wait()
            patch.setenv("PREFECT_API_URL", url)
            quiet = {PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
            with temporary_settings(quiet):  # the environment is read once
                yield both
        finally:
            both.ray.shutdown()
            server.stop()


@pytest.fixture(scope="module")
def run(two: Two, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """The runner that stages are given, outside of a flow."""
    with cluster(two.address, tmp_path_factory.mktemp("out"), make_part, print) as runner:
        yield runner


def test_a_build_on_a_cluster_is_that_of_one_process(two: Two, tmp_path: Path) -> None:
    recipe = tmp_path / "far.yaml"
    recipe.write_text(RECIPE)
    far, near = tmp_path / "far", tmp_path / "near"
    state = flow(str(recipe), str(far), runner="ray", ray_address=two.address, return_state=True)
    assert state is not None
    assert state.is_completed(), state.message
    plan = build(recipe, near)
    for place in ("stages", "shards"):
        made = digests(far / place)
        assert len(made) > 2
        assert made == digests(near / place)
    assert all(stage.done for stage in plan.stages())
    app(["export", str(far), "--to", "nanogpt", "--runner", "ray", "--address", two.address])
    app(["export", str(near), "--to", "nanogpt"])
    exports = "exports/rows/nanogpt/train.bin"
    assert (far / exports).read_bytes() == (near / exports).read_bytes()


def test_parts_are_made_on_every_node_one_a_cpu(run: Runner, tmp_path: Path) -> None:
    made: list[int] = []

    def work(index: int) -> None:
        node = ray.get_runtime_context().get_node_id()
        threads = polars.thread_pool_size()
        (tmp_path / f"{index}").write_text(f"{node} {os.getpid()} {threads}")
        while len(list(tmp_path.iterdir())) < 2:  # each node has one CPU: the other's part
            time.sleep(0.05)

    run("both", Counted(work, lambda: made.append(os.getpid())), range(6))
    said = [path.read_text().split() for path in tmp_path.iterdir()]
    assert len(said) == 6
    assert made == [os.getpid()] * 6
    assert len({node for node, _, _ in said}) == 2
    assert str(os.getpid()) not in {pid for _, pid, _ in said}
    assert {threads for _, _, threads in said} == {"1"}


def test_a_killed_node_costs_its_part_alone(run: Runner, two: Two, tmp_path: Path) -> None:
    victim = two.add()
    killed = threading.Thread(target=_kill_at_work, args=(two, victim, tmp_path))
    doomed = str(victim.node_id)

    def work(index: int) -> None:
        node = ray.get_runtime_context().get_node_id()
        with open(tmp_path / "begun", "a") as file:
            file.write(f"{index} {node}\n")
        if node == doomed:
            signal.pause()
        while not (tmp_path / "killed").exists():  # so that the victim gets a part
            time.sleep(0.05)
        (tmp_path / f"part-{index}").write_text(str(index))

    killed.start()
    run("mortal", work, range(8))
    killed.join()
    begun = [line.split() for line in (tmp_path / "begun").read_text().splitlines()]
    lost = {index for index, node in begun if node == doomed}
    times = Counter(index for index, _ in begun)
    assert len(lost) == 1
    assert {index for index, count in times.items() if count > 1} == lost
    assert sorted(path.read_text() for path in tmp_path.glob("part-*")) == list("01234567")


def _kill_at_work(two: Two, victim: Any, folder: Path) -> None:
    begun = folder / "begun"
    while not begun.exists() or victim.node_id not in begun.read_text():
        time.sleep(0.05)
    two.ray.remove_node(victim, allow_graceful=False)
    (folder / "killed").touch()


def test_errors_come_back_as_they_were(run: Runner, tmp_path: Path) -> None:
    damaged = tmp_path / "part-00003.parquet"

    def work(index: int) -> None:
        if index == 3:
            raise DamagedPart(damaged)
        if index == 4:
            raise RecipeError("wrong", where="there", fix="mend it")

    with pytest.raises(DamagedPart) as first:
        run("faulty", work, range(2, 6))
    assert first.value.path == damaged
    with pytest.raises(RecipeError, match="there: wrong; mend it"):
        run("faulty", work, [4, 5])

    def defect(index: int) -> None:
        raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        run("faulty", defect, [0])


def test_what_is_not_begun_is_cancelled(run: Runner, tmp_path: Path) -> None:
    def work(index: int) -> None:
        (tmp_path / f"{index}").touch()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("interrupted", Counted(work, interrupt), range(50))
    assert len(list(tmp_path.iterdir())) < 20
    run("afterwards", work, [99])
    assert (tmp_path / "99").exists()


def test_a_node_that_differs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    token = tmp_path / "out" / "logs" / "cluster"
    there = Site(str(ROOT), str(token), "1", source_hash())
    with pytest.raises(OutputError, match=r"not the same folder .* file system that all nodes"):
        there.check()
    token.parent.mkdir(parents=True)
    token.write_text("another build's")
    with pytest.raises(OutputError, match="not the same folder"):
        there.check()
    token.write_text("1")
    there.check()
    with pytest.raises(ShardmillError, match="has another shardmill"):
        Site(str(ROOT), str(token), "1", "0").check()


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_that_does_not_answer_is_told_at_once(form: str) -> None:
    begun = time.monotonic()
    with pytest.raises(EngineError, match=r"no Ray cluster answers .*ray start --head"):
        find_cluster(form.format(free_port()))
    assert time.monotonic() - begun < 20


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert find_cluster(None) == "local"
    with pytest.raises(EngineError, match="not of the form HOST:PORT"):
        find_cluster("somewhere")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    with pytest.raises(EngineError, match="no Ray cluster answers"):
        find_cluster(None)


def test_without_the_extra_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr(ray_address, "find_spec", absent)
    with pytest.raises(RecipeError, match=r"needs Ray; pip install 'shardmill\[ray\]'"):
        find_cluster(None)


def test_a_flow_tells_what_is_wrong_with_the_address(two: Two, tmp_path: Path) -> None:
    state = flow(
        "small-ever", str(tmp_path), runner="ray", ray_address="127.0.0.1:1", return_state=True
    )
    assert state is not None
    assert state.is_failed()
    assert "no Ray cluster answers" in str(state.message)


def test_the_guide_s_commands_can_be_given() -> None:
    (block,) = [text for text in blocks("docs/operating.md", "") if "--runner ray" in text]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    ours = [words[1:] for words in lines if words[0] == "shardmill"]
    assert len(ours) == 2
    for words in ours:
        app.parse_args(words, exit_on_error=False, print_error=False)
    assert all(words[:2] == ["ray", "start"] for words in lines if words[0] != "shardmill")
