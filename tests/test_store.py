"""Builds whose OUT is a bucket of objects, against a real S3 server on loopback."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from data import objects, store
from data.errors import DamagedPart, OutputError, RecipeError, SourceError, StoreError
from data.identity import identify
from data.leases import lock
from data.loader import LoaderError, Rows
from data.parts import Stage, write_file
from data.places import mirror, parse, shown
from data.sources import find_files, read_files
from data.store import open_out, open_path
from flows.collecting import gc
from flows.inspection import find_outputs
from flows.page import write_page
from flows.verification import drop_wrong, verify_folder
from tests.builds import Notes, build, digests
from tests.fake_server import FakeServer
from tests.s3_server import BUCKET, S3Server

WriteRecipe = Callable[..., Path]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as s3:
        yield s3


@pytest.fixture
def s3(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("SHARDMILL_SCRATCH", str(tmp_path / "scratch"))
    server.seen.clear()
    yield server
    server.fault = None
    objects.forget_session()


def few(recipe: dict[str, Any]) -> None:
    """One source and two filters, so that a build is a matter of moments."""
    del recipe["generate"]["sums"]
    recipe["generate"]["books"]["samples"] = 12
    recipe["curate"] = [{"length": {"min_tokens": 5}}, {"exact_duplicate": {}}]
    recipe["part_rows"] = 4


def finish(recipe: Path, url: str, *changes: str, notes: Notes | None = None) -> Path:
    """A build as the command does it: alone in its OUT; where it works."""
    out = open_out(url)
    with lock(out):
        build(recipe, out, *changes, notes=notes)
    return out


def uploads(s3: S3Server) -> list[str]:
    return [key for method, key in s3.seen if method == "PUT"]


def test_a_build_in_a_bucket(
    s3: S3Server, fake: FakeServer, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    """With failures on the way its files are those of a folder's build, no manifest precedes its
    parts, and a machine that knows nothing of it asks for nothing and sends nothing again."""
    recipe, url = write_recipe(fake.url, change=few), f"s3://{BUCKET}/runs/whole"
    build(recipe, tmp_path / "here")
    asked = fake.requests
    calls = {"count": 0}

    def fault(method: str, key: str) -> str | None:
        """Every seventh request fails, and answers come slowly."""
        calls["count"] += 1
        if calls["count"] % 7 == 0:
            return "500" if calls["count"] % 2 else "503"
        return "slow" if method == "GET" and calls["count"] % 5 == 0 else None

    s3.fault = fault
    out = finish(recipe, url)
    s3.fault = None
    assert fake.requests == 2 * asked
    there = s3.objects("runs/whole")
    here = digests(tmp_path / "here")
    assert not any(name.startswith("logs/") for name in there)
    for name in here:
        if not name.startswith(("completions/", "estimate")):
            kept = (tmp_path / "here" / name).read_bytes()
            assert name in there
            if "manifest.json" not in name:  # holds the seconds that replies took
                assert there[name] == kept, name
    _manifests_come_last(s3, there)
    secrets = (s3.url, s3.url.removeprefix("http://"), "AWS_", "SECRET")
    assert not [n for n, c in there.items() for word in secrets if word.encode() in c]

    before = uploads(s3)
    shutil.rmtree(out.parent)
    cut = {"left": 2}

    def torn(method: str, key: str) -> str | None:
        if method == "GET" and key.endswith(".parquet") and cut["left"]:
            cut["left"] -= 1
            return "cut"
        return None

    s3.fault = torn
    finish(recipe, url)
    assert not cut["left"]
    assert fake.requests == 2 * asked
    assert [key for key in uploads(s3)[len(before) :] if "lease" not in key] == []
    assert not list(out.glob("shards/*/*.arrow"))  # nobody has asked for them
    assert write_page(out).is_file()
    assert find_outputs(Path(url)) == [out / "shards" / "pretrain"]
    assert digests(out / "shards") == {
        name.removeprefix("shards/"): digest
        for name, digest in _digests(there).items()
        if name.startswith("shards/")
    }


def _digests(content: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}


def _manifests_come_last(s3: S3Server, there: dict[str, bytes]) -> None:
    order = {key: n for n, key in enumerate(uploads(s3))}
    folders = [name for name in there if name.endswith("manifest.json")]
    assert folders
    for name in folders:
        place = f"runs/whole/{name}"
        for part in json.loads(there[name])["parts"]:
            part_place = place.replace("manifest.json", part["file"])
            assert order[part_place] < order[place], part_place


KILLED = """
import sys
from pathlib import Path
from data import outgoing
from tests.test_store import finish
outgoing.SEND_SECONDS = 0.1
finish(Path(sys.argv[1]), sys.argv[2])
"""


def test_a_machine_that_is_lost_costs_what_was_not_sent(
    s3: S3Server, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/runs/lost"
    killed: list[subprocess.Popen[bytes]] = []

    def hold(body: dict[str, Any], before: int) -> str | None:
        return "hang" if len(engine.bodies) >= 20 else None

    def kill(method: str, key: str) -> str | None:
        """When the account is to be put, the replies before it are there."""
        puts = [key for method, key in s3.seen if method == "PUT"]
        if "completions/account" in key and any("completions/log" in put for put in puts):
            killed[0].send_signal(signal.SIGKILL)
            return "500"
        return None

    s3.fault = kill

    def many(recipe: dict[str, Any]) -> None:
        few(recipe)
        recipe["generate"]["books"]["samples"] = 24
        recipe["engine"]["concurrency"] = 2

    with FakeServer(fault=hold) as engine:
        recipe = write_recipe(engine.url, change=many)
        command = [sys.executable, "-c", KILLED, str(recipe), url]
        killed.append(subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.getcwd()}))
        assert killed[0].wait(200) == -signal.SIGKILL
        engine.fault = s3.fault = None
        sent = b"".join(
            content
            for name, content in sorted(s3.objects("runs/lost/completions").items())
            if name.startswith("log")
        )
        first = set(engine.asked)
        known = sent.count(b"\n")
        assert 0 < known < 24
        shutil.rmtree(mirror(parse(url)))
        engine.asked.clear()
        out = finish(recipe, url)  # the lease is of a process that is gone
        assert sum(engine.asked.values()) == 24 - known
        assert len(first | set(engine.asked)) == 24
        build(recipe, tmp_path / "here")
    assert digests(out / "shards") == digests(tmp_path / "here" / "shards")


def test_a_damaged_object_is_named_and_made_again(
    s3: S3Server, fake: FakeServer, write_recipe: WriteRecipe
) -> None:
    recipe, url = write_recipe(fake.url, change=few), f"s3://{BUCKET}/runs/harmed"
    out = finish(recipe, url)
    before, asked = s3.objects("runs/harmed"), fake.requests
    assert verify_folder(out)[1] == []
    shard = next(n for n in before if n.startswith("shards/") and n.endswith(".arrow"))
    completions = next(n for n in before if "completions.books" in n and n.endswith(".parquet"))
    s3.put(f"runs/harmed/{shard}", before[shard][:-1] + b"?")
    s3.put(f"runs/harmed/{completions}", before[completions][:100])
    _, wrong = verify_folder(Path(url))
    assert {shown(path) for path, _ in wrong} == {f"{url}/{shard}", f"{url}/{completions}"}
    drop_wrong(wrong)
    assert shard not in s3.objects("runs/harmed")
    finish(recipe, url)
    after = s3.objects("runs/harmed")
    assert after[shard] == before[shard]
    assert after[completions] == before[completions]
    assert fake.requests == asked

    samples = next(n for n in before if "samples.books" in n and n.endswith(".parquet"))
    s3.put(f"runs/harmed/{samples}", b"x" * len(before[samples]))
    shutil.rmtree(out)
    notes = Notes()
    finish(recipe, url, "outputs.pretrain.sequence_length=64", notes=notes)
    assert f"{url}/{samples} is damaged and is made again" in notes.lines
    assert s3.get(f"runs/harmed/{samples}") == before[samples]
    copy = out / samples  # a copy that goes bad is fetched again
    copy.write_bytes(b"y" * len(before[samples]))
    finish(recipe, url, "outputs.pretrain.sequence_length=32", notes=notes)
    assert f"{copy} was damaged and is fetched again" in notes.lines
    assert fake.requests == asked
    unused = open_out(url) / "stages" / "verdicts.9.none-000000000000"
    unused.mkdir()
    write_file(unused / "part-00000.parquet", b"of a recipe that is gone")
    store.flush()
    gc(Path(url), yes=True)
    left = s3.objects("runs/harmed/stages")
    assert samples.removeprefix("stages/") in left
    assert not [name for name in left if name.startswith(unused.name)]


def test_parts_without_a_manifest_count_where_they_are_proven(s3: S3Server) -> None:
    out = open_out(f"s3://{BUCKET}/runs/parts")

    def stage() -> Stage:
        return Stage(out, "rows", {"n": 1})

    with lock(out):
        stage().begin()
        for index in range(3):
            stage().write(index, pa.table({"n": [index]}))
    shutil.rmtree(out)
    name = f"runs/parts/stages/{stage().folder.name}/part-00001.parquet"
    s3.put(name, s3.get(name))  # whole, but nobody says so
    with lock(out):
        with pytest.raises(DamagedPart):
            stage().begin()
        stage().begin()
        assert [stage().has(index) for index in range(3)] == [True, False, True]
        stage().write(1, pa.table({"n": [1]}))
        stage().write(3, pa.table({"n": [3]}))
        (stage().folder / "part-00002.parquet").unlink()
        stage().finish()
        assert "part-00002.parquet" not in s3.objects(name.rpartition("/")[0])
    shutil.rmtree(out)
    open_out(f"s3://{BUCKET}/runs/parts")
    assert stage().done
    assert stage().read(3)["n"].to_pylist() == [3]


def test_one_build_at_a_time(s3: S3Server) -> None:
    url = f"s3://{BUCKET}/runs/busy"
    lease = {"token": "other", "host": "elsewhere", "process": 7}
    s3.put("runs/busy/logs/lease.json", json.dumps(lease).encode())
    with pytest.raises(OutputError, match="process 7 on elsewhere"), lock(open_out(url)):
        pass
    lease = {"token": "other", "host": os.uname().nodename, "process": 2**22 + 1}
    s3.put("runs/busy/logs/lease.json", json.dumps(lease).encode())
    with lock(open_out(url)):
        assert json.loads(s3.get("runs/busy/logs/lease.json"))["process"] == os.getpid()
    assert s3.objects("runs/busy") == {}


def test_what_stays_wrong_is_one_line(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="the bucket missing-one does not exist"):
        open_out("s3://missing-one/runs")
    with pytest.raises(RecipeError, match="names no bucket"):
        open_out("s3://key:secret@bucket/x")
    with pytest.raises(RecipeError, match="cannot hold a build"):
        open_out(f"s3://{BUCKET}/a/../b")
    with pytest.raises(SourceError, match="holds nothing"):
        open_path(f"s3://{BUCKET}/nowhere/at/all")
    with pytest.raises(LoaderError, match="fetch it first"):
        Rows(f"s3://{BUCKET}/runs/whole/shards/pretrain")
    monkeypatch.setattr(objects, "FIRST_PATIENCE", 0.1)
    s3.fault = lambda method, key: "500"
    with pytest.raises(StoreError, match="the store fails"):
        open_out(f"s3://{BUCKET}/runs/failing")
    s3.fault = None
    objects.forget_session()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(StoreError, match="there are no keys"):
        open_out(f"s3://{BUCKET}/runs/keyless")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    objects.forget_session()
    with pytest.raises(StoreError, match="cannot be reached") as error:
        open_out(f"s3://{BUCKET}/runs/far")
    assert "127.0.0.1" not in str(error.value)


def test_sources_from_a_bucket(s3: S3Server, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"row {n}"}) for n in range(4)]
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(rows[:2]).encode()))
    (tmp_path / "in" / "deep" / "b.jsonl").write_text("\n".join(rows[2:]))
    (tmp_path / "in" / "README.md").write_text("about")
    s3.put_folder(tmp_path / "in", "corpus/in")
    url = f"s3://{BUCKET}/corpus/in"
    assert list(read_files(url)) == list(read_files(str(tmp_path / "in")))
    assert list(read_files(f"{url}/*.gz")) == list(read_files(str(tmp_path / "in" / "*.gz")))
    assert len(list(read_files(f"{url}/**/*.jsonl"))) == 2
    assert list(read_files(f"{url}/a.jsonl.gz")) == [
        (f"a.jsonl.gz:{n}", {"text": f"row {n - 1}"}) for n in (1, 2)
    ]
    s3.seen.clear()
    before = identify(url)
    list(read_files(url))
    assert not [key for method, key in s3.seen if method == "GET" and key]  # listed, not fetched
    s3.put("corpus/in/deep/b.jsonl", b'{"text": "new"}\n')
    assert identify(url) != before
    assert [row for _, row in read_files(f"{url}/deep")] == [{"text": "new"}]
    s3.put("corpus/in/deep/b.jsonl", b'{"text": ')
    _, bad = next(iter(read_files(f"{url}/deep")))
    assert isinstance(bad, SourceError)
    assert f"{url}/deep/b.jsonl:1" in str(bad)
    with pytest.raises(SourceError, match="holds no file to read"):
        find_files(f"{url}/*.none")
