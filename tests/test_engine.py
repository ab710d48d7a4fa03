"""Real vLLM, the packaged model, and a build that is killed in the middle."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from data import ROOT
from data.tokenization import load_tokenizer
from inference.record import Completion, Record, decode

pytestmark = [pytest.mark.engine, pytest.mark.timeout(840)]

SETTINGS = ("engine.sampling.max_tokens=24", "engine.concurrency=8", "curate=[]")
CHANGES = ["--scale", "0.12", *(word for change in SETTINGS for word in ("--set", change))]


def start(out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "flows", "run", "demo", "--out", str(out), *CHANGES]
    with open(out.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, start_new_session=True, cwd=ROOT, stdout=log, stderr=log)


def recorded(out: Path) -> dict[str, Completion]:
    logs = (out / "completions").glob("*.jsonl")
    lines = [line for log in logs for line in log.read_bytes().splitlines(keepends=True)]
    found = [completion for completion in map(decode, lines) if completion]
    assert len({completion.key for completion in found}) == len(found)
    return {completion.key: completion for completion in found}


def ours(out: Path, words: str = "") -> list[int]:
    """Processes of the builds of `out`: those that print into it or into its log."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            prints = os.readlink(process / "fd" / "1").startswith(str(out))
            if prints and words.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def kill_engine_of_the_second_start(out: Path) -> bool:
    """SIGKILL vLLM's engine process as soon as it has its first requests."""
    log, deadline = out.with_suffix(".log"), time.monotonic() + 300
    while log.read_text().count("vLLM is ready") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    engines = ours(out, "VLLM::EngineCore")
    for engine in engines:
        os.kill(engine, signal.SIGKILL)
    return bool(engines)


def test_a_real_build_survives_a_kill_with_every_recorded_completion(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(out)
    deadline = time.monotonic() + 300
    while len(recorded(out)) < 4 and time.monotonic() < deadline:
        assert process.poll() is None, out.with_suffix(".log").read_text()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = recorded(out)
    assert 4 <= len(before) < 15
    deadline = time.monotonic() + 30
    while ours(out) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ours(out) == []

    process = start(out)
    killed = kill_engine_of_the_second_start(out)
    assert process.wait(400) == 0, out.with_suffix(".log").read_text()
    after = recorded(out)
    assert killed
    assert "restart 1/3" in out.with_suffix(".log").read_text()
    assert "is back" in out.with_suffix(".log").read_text()
    assert {key: after[key] for key in before} == before
    assert f"{len(before)} reused" in out.with_suffix(".log").read_text()
    assert ours(out) == []

    completions = pl.read_parquet(out / "stages" / "completions.*" / "part-*.parquet")
    assert completions["keys"].explode().n_unique() == len(completions) == len(after)
    assert {row["keys"][0]: row["text"] for row in completions.iter_rows(named=True)} == {
        key: completion.text for key, completion in after.items()
    }
    samples = pl.read_parquet(out / "stages" / "samples.*" / "part-*.parquet")
    assert sorted(samples["id"]) == sorted(completions["id"])
    with Record(out / "completions") as record:
        assert len(record) == len(after)

    rows = pl.scan_ipc(out / "shards" / "pretrain" / "*.arrow").collect()
    tokenizer = load_tokenizer("gpt2")
    decoded = "".join(tokenizer.decode(ids.to_list()) for ids in rows["input_ids"])
    written = samples.filter(pl.col("id").is_in(rows["doc_ids"].explode().implode()))
    assert len(written) > 0
    assert all(text[:40] in decoded for text in written["text"])
