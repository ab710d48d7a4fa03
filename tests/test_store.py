"""Builds whose OUT is a bucket of objects, against a real S3 server on loopback."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data import objects, store
from data.places import mirror, out_of, parse
from tests.builds import Notes, build, digests
from tests.fake_server import FakeServer
from tests.s3_server import BUCKET, S3Server


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


WriteRecipe = Callable[..., Path]


def test_a_build_in_a_bucket_is_that_of_a_folder(
    s3: S3Server, fake: FakeServer, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    recipe, url = write_recipe(fake.url), f"s3://{BUCKET}/runs/same"
    build(recipe, tmp_path / "here")
    asked = fake.requests
    plan = build(recipe, url)
    store.flush()
    assert fake.requests == 2 * asked
    assert digests(plan.out / "shards")
    here = digests(tmp_path / "here" / "shards")
    there = s3.objects("runs/same")
    for name in here:
        print(name)
    print(*there, sep="\n")
    shutil.rmtree(plan.out)
    s3.seen.clear()
    again = build(recipe, url)
    print(s3.seen)
    assert fake.requests == 2 * asked
