"""`shardmill train`, and that what it trains learns; the training runs in .venv-train's python.

The first tests need no torch: they are about what is refused before it is asked for.
"""

import io
import json
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from data import ROOT
from data.errors import EngineError, RecipeError
from data.export import export_shards
from data.parts import read_manifest
from flows.cli import _guarded, app
from flows.train_samples import find_prompts
from flows.training import Options, plan_run, trainer_python
from tests.packed import Row, random_rows, write_packed
from tests.small_outputs import write_output
from tests.test_consumers import byte_tokenizer

PYTHON = ROOT / ".venv-train" / "bin" / "python"
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
ASKED = "say bee"
ANSWER = "So be it."


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with regular texts and regular conversations."""
    folder = tmp_path_factory.mktemp("train")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(NAMES, 12)) for _ in range(120)]
    talks = [[("user", f"say {name}"), ("assistant", ANSWER)] for name in NAMES] * 12
    tokenizer = str(byte_tokenizer(folder))
    common = {"tokenizer": tokenizer, "sequence_length": 64, "validation": 0.1}
    write_output(folder, "pretrain", texts, **common)
    write_output(folder, "chat", talks, render={"template": "chatml"}, **common)
    return folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "flows", "train", *map(str, words)]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def shardmill(*words: object) -> Ended:
    """The command in this process, which has polars loaded; the trainer's is one of its own."""
    out, err = io.StringIO(), io.StringIO()
    given = ["train", *map(str, words)]
    with redirect_stdout(out), redirect_stderr(err):
        code = _guarded(lambda: app(given, exit_on_error=False, print_error=False))
    return Ended(code, out.getvalue(), err.getvalue())


def test_a_chat_prompt_is_what_precedes_the_answer_in_the_rows(out: Path) -> None:
    """The template's generation prompt is in it, and the end of the turn stops the model."""
    shards = out / "shards" / "chat"
    manifest = read_manifest(shards) or {}
    given = find_prompts(shards, manifest, (ASKED,))
    drawn = find_prompts(shards, manifest, ())
    end = manifest["tokenizer"]["special"]["<|im_end|>"]
    assert end in given.stops
    assert given.stops == drawn.stops
    assert len(drawn.ids) == 4
    written = f"user\n{ASKED}\nassistant\n"
    assert bytes_of(given.ids[0]) == written.encode()
    lengths = {len(ids) for ids in drawn.ids}
    assert lengths == {len(given.ids[0])}  # names of three letters each


def bytes_of(ids: list[int]) -> bytes:
    """The text of ids of the byte tokenizer, special tokens left out."""
    alphabet = sorted(ByteLevel.alphabet())
    text = "".join(alphabet[id] for id in ids if id < len(alphabet))
    return text.replace("Ġ", " ").replace("Ċ", "\n").encode()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{out}"], "has the outputs chat, pretrain; choose with --output"),
        (["{out}", "--output", "caht"], "has no output 'caht'"),
        (["{out}/shards/chat", "--size", "huge"], "sizes are nano, tiny, small"),
        (["{out}/shards/chat", "--width", "33", "--heads", "2"], "do not divide --width 33"),
        (["{out}/shards/chat", "{out}/shards/pretrain"], "go with --compare"),
        (["{out}/shards/chat", "--from", "{out}"], "holds no checkpoint"),
        (["{out}/shards/chat", "--prompt", "long " * 20], "give 1 to 63"),
        (["{out}/shards/chat", "{out}/shards/pretrain", "--compare"], "cannot be compared"),
        (["/nowhere"], "/nowhere: holds no finished shards"),
    ],
)
def test_wrong_usage_is_one_line(out: Path, words: list[str], says: str) -> None:
    ended = shardmill(*(word.format(out=out) for word in words))
    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_another_run_is_refused_and_fresh_removes_the_first(out: Path, tmp_path: Path) -> None:
    shards, folder = out / "shards" / "pretrain", tmp_path / "run"
    folder.mkdir()
    first = Options(None, {"layers": 1, "heads": 1, "width": 8}, 5, 8, 1e-3, 0)
    plan_run(shards, first, folder).begin()
    (folder / "loss.csv").write_text("")
    plan_run(shards, first, folder).begin()
    with pytest.raises(RecipeError, match="steps was 5"):
        plan_run(shards, replace(first, steps=6), folder)
    assert (folder / "loss.csv").exists()
    plan_run(shards, replace(first, steps=6), folder, fresh=True).begin()
    assert not (folder / "loss.csv").exists()
    plan_run(shards, replace(first, steps=6), folder)


def test_without_torch_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDMILL_TRAIN_PYTHON", "/nowhere/python")
    with pytest.raises(EngineError, match="make train-env"):
        trainer_python()


class Small(Row):
    """Padded with small-ever's own id, as its vocabulary has four."""

    def padded(self, size: int) -> list[int]:
        return self.ids + [2] * (size - len(self.ids))


def secret_rows() -> list[Row]:
    """A number that only the document before tells."""
    drawn = np.random.default_rng(0).integers(0, 8, 256).tolist()
    return [Row([[number], [8, number]]) for number in drawn]


def pair_rows() -> list[Row]:
    """Random keys, each with its value behind it; only values are trained."""
    keys = np.random.default_rng(0).integers(0, 8, (256, 8))
    pairs = np.stack([keys, 8 + (3 * keys + 5) % 8], axis=2).reshape(256, 16).tolist()
    return [
        Row([ids], [place for at in range(1, 16, 2) for place in (at, at + 1)]) for ids in pairs
    ]


@pytest.fixture(scope="module")
def found(out: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/trainers.py saw, all in one process: importing torch costs most."""
    folder = tmp_path_factory.mktemp("trainers")
    write_packed(folder / "small-ever", [Small([[0, 1]])], 13, vocabulary=4)
    write_packed(folder / "rows", random_rows(40, 16), 16)
    write_packed(folder / "secrets", secret_rows(), 4, rows_per_shard=256, batch_rows=256)
    write_packed(folder / "pairs", pair_rows(), 16, rows_per_shard=256, batch_rows=256)
    export_shards(out / "shards" / "pretrain", "nanogpt", folder / "nanogpt")
    result = folder / "found.json"
    run = subprocess.run(
        [str(PYTHON), "-m", "tests.trainers", str(folder), str(result)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    seen: dict[str, Any] = json.loads(result.read_text())
    return seen


def seen(found: dict[str, Any], check: str) -> Any:
    value = found[check]
    assert not (isinstance(value, dict) and "error" in value), value["error"]
    return value


@pytest.mark.train
def test_small_ever_says_creatrice_after_clem(found: dict[str, Any]) -> None:
    value = seen(found, "small_ever")
    assert value["parameters"] == 112
    assert value["creatrice"] > 0.99
    assert value["written"][0][0] == 1
    assert value["seconds"] < 30


@pytest.mark.train
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(found: dict[str, Any], kind: str) -> None:
    curves = seen(found, "resumed")
    whole = curves[f"{kind} whole"]
    assert [row["step"] for row in whole] == list(range(13))
    cut_off = [name for name in curves if name in (f"{kind} killed", f"{kind} stopped")]
    assert cut_off
    for name in cut_off:
        curve = curves[name]
        assert [row["step"] for row in curve] == [row["step"] for row in whole]
        assert [row["tokens"] for row in curve] == [row["tokens"] for row in whole]
        assert worst(curve, whole) < 1e-6, name
    if kind == "gpt2":  # a loader that begins anew is seen
        assert worst(curves["gpt2 forgetful"], whole) > 1e-3


def worst(curve: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    pairs = zip(curve[1:], other[1:], strict=True)
    return max(abs(float(a["train_loss"]) - float(b["train_loss"])) for a, b in pairs)


@pytest.mark.train
def test_a_broken_mask_is_seen_in_what_is_learnt(found: dict[str, Any]) -> None:
    """Eight numbers that cannot be known cost log 8 = 2.08 each."""
    losses = seen(found, "masks")
    assert losses["borders kept"] > 1.9  # the document before stays unseen
    assert losses["borders dropped"] < 0.5
    assert losses["labels in place"] < 0.5
    assert losses["labels shifted"] > 1.9


@pytest.mark.train
def test_packed_logits_are_those_of_each_document_alone(found: dict[str, Any]) -> None:
    differences = seen(found, "logits")
    assert differences["kept"] < 1e-5
    assert differences["leak"] > 1e-3


@pytest.mark.train
def test_nanogpts_windows_over_the_export_train(found: dict[str, Any]) -> None:
    losses = seen(found, "nanogpt")
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5]), losses


@pytest.mark.train
def test_a_loss_that_is_no_number_stops_the_run(found: dict[str, Any]) -> None:
    assert "lower --learning-rate" in seen(found, "diverging")


@dataclass(frozen=True)
class Ran:
    """One run of the command after the other, over the same build."""

    interrupted: tuple[int, str]
    resumed: Ended
    again: Ended
    other: Ended
    chat: Ended


@pytest.fixture(scope="module")
def ran(out: Path) -> Ran:
    pretrain = (out, "--output", "pretrain", "--size", "nano", "--steps", 60, "--prompt", "ant b")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "train", *map(str, pretrain)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline().startswith("train 1/60")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=200)
    interrupted = process.returncode, said
    resumed = shardmill(*pretrain)
    again = shardmill(*pretrain)
    other = shardmill(*pretrain[:-2], "--seed", 1)
    start = ("--from", out / "train" / "pretrain-gpt2", "--learning-rate", 0.005)
    chat = shardmill(out, "--output", "chat", *start, "--steps", 100, "--prompt", ASKED)
    return Ran(interrupted, resumed, again, other, chat)


def losses(folder: Path, column: str) -> list[float]:
    header, *rows = [line.split(",") for line in (folder / "loss.csv").read_text().splitlines()]
    at = header.index(column)
    return [float(row[at]) for row in rows if row[at]]


@pytest.mark.train
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(out: Path, ran: Ran) -> None:
    code, said = ran.interrupted
    assert code == 130
    assert "the same command resumes" in said
    assert ran.resumed.code == 0, ran.resumed.err
    assert "resuming at step " in ran.resumed.out
    folder = out / "train" / "pretrain-gpt2"
    assert len(losses(folder, "step")) == 61
    found = losses(folder, "train_loss")
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
    for name in ("loss.csv", "loss.png", "samples.md"):
        assert (folder / name).stat().st_size > 0
        assert str(folder / name) in ran.resumed.out
    assert (folder / "checkpoints" / "checkpoint-60" / "model.safetensors").is_file()


@pytest.mark.train
def test_a_finished_run_is_not_trained_again_and_another_is_not_mixed_in(ran: Ran) -> None:
    assert ran.again.code == 0
    assert "finished before" in ran.again.out
    assert "validation loss" in ran.again.out
    assert ran.other.code == 2
    assert "holds a run of other settings (seed was 0" in ran.other.err


@pytest.mark.train
def test_a_pretrained_model_learns_the_chat_form(out: Path, ran: Ran) -> None:
    assert ran.chat.code == 0, ran.chat.err
    folder = out / "train" / "chat-gpt2"
    found = losses(folder, "validation_loss")
    assert found[-1] < 0.5 * found[0], found
    before, after = (folder / "samples.md").read_text().split("After:")
    assert f"user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n" in before
    assert f"{ANSWER}<|im_end|>" in after
    assert f"{ANSWER}<|im_end|>" not in before


@pytest.mark.train
def test_two_builds_are_compared_on_what_each_holds_out(out: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    words = [" ".join(rng.choice(NAMES, 12)) for _ in range(120)]
    letters = ["".join(rng.choice(list("uvwxyz"), 40)) for _ in range(120)]
    common = {"tokenizer": str(out / "tokenizer.json"), "sequence_length": 64, "validation": 0.1}
    a, b = tmp_path / "a", tmp_path / "b"
    write_output(a, "pretrain", words, **common)
    write_output(b, "pretrain", letters, **common)
    (tmp_path / "held.txt").write_text("dog elk fox ant bee cat " * 10)
    text = tmp_path / "held.txt"
    sizes = ("--size", "nano", "--steps", 40, "--prompt", "a", "--text", text)
    result = shardmill(a, b, "--compare", *sizes)
    assert result.code == 0, result.err
    lines = [line for line in result.out.splitlines() if "│" in line]
    first, second = ([cell.strip() for cell in line.split("│")[2:-1]] for line in lines)
    assert [cell.endswith("*") for cell in first] == [True, False, True], result.out
    assert [cell.endswith("*") for cell in second] == [False, True, False], result.out
