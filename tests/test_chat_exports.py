"""A chat output from a build to each format: its conversations, and what the loss counts."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.export import export_shards, list_exporters
from data.tokenization import load_tokenizer
from flows.plan import Plan
from tests import fake_server
from tests.builds import build
from tests.fake_server import FakeServer
from tests.test_export import read_megatron

SIZE = 512
EOT = 50256
Conversation = tuple[tuple[int, ...], tuple[bool, ...]]
"""Ids, and which of them are trained."""
Found = Counter[Conversation]

RECIPE = """
name: talks
engine: {model: fake, sampling: {max_tokens: 400}}
generate:
  instructions:
    kind: instruction
    seeds: {file: data/seeds/topics.jsonl}
    samples: 40
    vary: {form: [question, explain]}
curate: []
part_rows: 7
outputs:
  sft:
    tokenizer: gpt2
    sequence_length: 512
    render: {template: zephyr}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("talks")
    (folder / "talks.yaml").write_text(RECIPE)
    honest: Callable[[dict[str, Any]], str] = fake_server.reply_to

    def conversation(body: dict[str, Any]) -> str:
        words = honest(body).split()
        return f"User: {' '.join(words[:9])}?\nAssistant: {' '.join(words[9:50])}."

    with pytest.MonkeyPatch.context() as patch, FakeServer() as server:
        patch.setattr(fake_server, "reply_to", conversation)
        yield build(
            folder / "talks.yaml",
            folder / "out",
            f"engine.endpoints=[{server.url}]",
        )


def written(plan: Plan) -> Found:
    """The samples in Zephyr's form, put together here turn by turn."""
    encode = load_tokenizer("gpt2").encode
    found: Found = Counter()
    (source,) = plan.sources
    for part in range(source.samples.count()):
        for messages in pl.DataFrame(source.samples.read(part))["messages"].to_list():
            ids: list[int] = [*encode(["<|system|>\n"])[0].tolist(), EOT]
            trained = [False] * len(ids)
            for turn in messages:
                opening = encode([f"\n<|{turn['role']}|>\n"])[0].tolist()
                content = encode([turn["content"]])[0].tolist()
                answer = turn["role"] == "assistant"
                if not answer:  # what is not trained is tokenized in one with what opens it
                    opening = encode([f"\n<|{turn['role']}|>\n{turn['content']}"])[0].tolist()
                    content = []
                ids += [*opening, *content, EOT]
                trained += [False] * len(opening) + [answer] * (len(content) + 1)
            closing = encode(["\n"])[0].tolist()
            found[tuple(ids + closing), tuple(trained + [False] * len(closing))] += 1
    return found


def counted(conversations: Iterable[tuple[Any, Any]]) -> Found:
    pairs = ((ids, np.asarray(trained, bool)) for ids, trained in conversations)
    return Counter((tuple(ids.tolist()), tuple(trained.tolist())) for ids, trained in pairs)


def datatrove(folder: Path) -> Found:
    path = folder / "train" / "tokens.ds"
    ends = np.fromfile(f"{path}.index", "<u8").astype(np.int64)[:-1]
    ids, loss = np.fromfile(path, "<u2"), np.fromfile(f"{path}.loss", "?")
    return counted(zip(np.split(ids, ends), np.split(loss, ends), strict=True))


def mds(folder: Path) -> Found:
    """By the published layout alone: offsets, then each sample's columns one after the other."""
    pairs: list[tuple[Any, Any]] = []
    for shard in json.loads((folder / "train" / "index.json").read_bytes())["shards"]:
        content = (folder / "train" / shard["raw_data"]["basename"]).read_bytes()
        starts = np.frombuffer(content, "<u4", shard["samples"] + 1, 4)
        for start in starts[:-1].tolist():
            row, at = {}, start
            for name, kind, size in zip(
                *(shard[f"column_{what}"] for what in ("names", "encodings", "sizes")), strict=True
            ):
                row[name] = np.frombuffer(content[at : at + size], kind.split(":")[-2:][0])
                at += size
            trained = np.zeros(SIZE, bool)
            for begin, end in row["loss_spans"].reshape(-1, 2):
                trained[begin:end] = True
            ends = np.cumsum(row["seq_lengths"], dtype=np.int64)
            ends = ends[: np.searchsorted(ends, row["n_tokens"][0]) + 1]
            pieces = (np.split(values, ends)[:-1] for values in (row["tokens"], trained))
            pairs += zip(*pieces, strict=True)
    return counted(pairs)


def hf(folder: Path) -> Found:
    datasets = pytest.importorskip("datasets")
    pairs: list[tuple[Any, Any]] = []
    for row in datasets.load_from_disk(str(folder))["train"].with_format("numpy"):
        starts = np.flatnonzero(row["position_ids"] == 0)
        assert np.diff([*starts, SIZE]).tolist() == row["seq_lengths"].tolist()
        trained = row["labels"] != -100
        assert (row["labels"][trained] == row["input_ids"][trained]).all()
        pieces = [np.split(values, starts[1:]) for values in (row["input_ids"], trained)]
        filled = (np.diff([*starts, SIZE]).cumsum() <= SIZE).sum()
        real = [n for n in range(filled) if pieces[1][n].any()]  # padding trains nothing
        pairs += [(pieces[0][n], pieces[1][n]) for n in real]
    return counted(pairs)


@pytest.mark.parametrize("to", list_exporters())
def test_a_chat_output_keeps_its_conversations_and_their_mask(
    plan: Plan, tmp_path: Path, to: str
) -> None:
    expected = written(plan)
    assert expected.total() >= 30
    (target,) = plan.targets
    export_shards(target.shards.folder, to, tmp_path / to)
    match to:
        case "datatrove" | "mds" | "hf":
            found = {"datatrove": datatrove, "mds": mds, "hf": hf}[to](tmp_path / to)
            assert found == expected
        case "megatron":
            documents, _ = read_megatron(tmp_path / to / "train")
            assert Counter(tuple(d.tolist()) for d in documents) == counted_ids(expected)
        case "nanogpt":  # one stream: Megatron's file says where its conversations end
            export_shards(target.shards.folder, "megatron", tmp_path / "megatron")
            stream = np.fromfile(tmp_path / to / "train.bin", "<u2")
            documents, _ = read_megatron(tmp_path / "megatron" / "train")
            assert stream.tolist() == np.concatenate(documents).tolist()
        case _:
            pytest.fail(f"{to} is not tested with conversations")


def counted_ids(conversations: Found) -> Counter[tuple[int, ...]]:
    found: Counter[tuple[int, ...]] = Counter()
    for (ids, _), count in conversations.items():
        found[ids] += count
    return found
